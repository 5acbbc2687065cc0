"""What Istio's CreateCertificate refuses of a request: broken CSRs, and hints that are not supported."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from meshca import der
from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.wire.tls import MAX_MESSAGE_BYTES
from tests.e2e.istio_requests import PAYMENTS, WEB, armoured, leaf_of, pem, uris
from tests.fakes.pki import ec_key, make_csr, rsa_key
from tests.real.dev_server import Key, Server, reason, refused


def ed25519_csr() -> bytes:
    """A request by a key of a type that is not supported."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)


def twice_extended_csr() -> bytes:
    """A request, properly signed, that has one extension twice."""
    key, numbers = ec_key(), ("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2")
    kinds = [x509.ObjectIdentifier(number) for number in numbers]
    request = make_csr(key, extensions=[x509.UnrecognizedExtension(kind, b"\x05\x00") for kind in kinds])
    first, second = (der.tlv(0x06, bytes.fromhex("2b06010401868d1f") + bytes([last])) for last in (1, 2))
    signed, algorithm, _ = der.children(request)
    assert second in signed
    signed = signed.replace(second, first)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return der.tlv(der.SEQUENCE, signed, algorithm, der.tlv(der.BIT_STRING, b"\0", signature))


class TestBadRequests:
    """A CSR that is broken is InvalidArgument."""

    @pytest.mark.parametrize(
        ("csr", "slug"),
        [
            ("", "csr_format"),
            ("garbage", "csr_format"),
            ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "csr_format"),
            (pem(make_csr())[:-80], "csr_format"),
            ("x" * 70_000, "csr_size"),
            ("x" * 200_000, "csr_size"),
            (pem(make_csr(rsa_key(1024))), "csr_key"),
            (pem(make_csr(ec_key(ec.SECP521R1()))), "csr_key"),
            (pem(ed25519_csr()), "csr_key"),
            (pem(make_csr(names=[x509.UniformResourceIdentifier(WEB + "\n")])), "csr_names"),
            (pem(make_csr(names=[x509.UniformResourceIdentifier(WEB + "\0")])), "csr_names"),
            (pem(make_csr(names=[x509.DNSName("web\0.example")])), "csr_names"),
            (armoured(twice_extended_csr()), "csr_format"),
        ],
        ids=[
            "empty",
            "garbage",
            "not a request",
            "truncated",
            "70 KB",
            "200 KB",
            "RSA-1024",
            "P-521",
            "Ed25519",
            "newline",
            "NUL",
            "NUL in DNS",
            "an extension twice",
        ],
    )
    async def test_refused(self, server: Server, csr: str, slug: str) -> None:
        """It is refused with a sentence that says what was expected, and nothing of what was sent."""
        error = await refused(server.call(IstioCertificateRequest(csr=csr), token=server.token()))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, slug)
        assert ": " in (error.details() or "")
        assert len(error.details() or "") < 400

    @pytest.mark.parametrize("size", [300_000, 10_000_000], ids=["300 KB", "10 MB"])
    async def test_larger_than_any_request(self, server: Server, size: int) -> None:
        """It is not even read: gRPC answers ResourceExhausted, and names the size and the most that it takes."""
        error = await refused(server.call(IstioCertificateRequest(csr="x" * size), token=server.token()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"vs. {MAX_MESSAGE_BYTES})" in (error.details() or "")

    async def test_signed_by_another_key(self, server: Server) -> None:
        """A CSR whose signature is not its own key's is refused."""
        one, other = make_csr(), make_csr()
        forged = one[:-40] + other[-40:]
        error = await refused(server.call(IstioCertificateRequest(csr=armoured(forged)), token=server.token()))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason(error) in {"csr_signature", "csr_format"}

    async def test_not_parsed_before_the_caller_is_proven(self, server: Server) -> None:
        """A stranger learns nothing about a CSR: Unauthenticated comes first."""
        error = await refused(server.call(IstioCertificateRequest(csr="garbage")))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


class TestMetadata:
    """Hints of the request: read are ImpersonatedIdentity and CertSigner, both unsupported and text."""

    @pytest.mark.parametrize(
        ("name", "value", "slug"),
        [
            ("ImpersonatedIdentity", PAYMENTS, "impersonation"),
            ("CertSigner", "other", "cert_signer"),
            ("ImpersonatedIdentity", 1, "metadata"),
            ("ImpersonatedIdentity", True, "metadata"),
            ("CertSigner", ["a"], "metadata"),
            ("CertSigner", {"a": "b"}, "metadata"),
            ("CertSigner", None, "metadata"),
        ],
        ids=["impersonation", "signer", "number", "boolean", "list", "struct", "null"],
    )
    async def test_refused(self, server: Server, name: str, value: Any, slug: str) -> None:
        """What is not supported, or is no text, is InvalidArgument."""
        request = IstioCertificateRequest(csr=Key().csr)
        request.metadata.update({name: value})
        error = await refused(server.call(request, token=server.token()))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, slug)

    async def test_empty_and_unknown_hints_are_tolerated(self, server: Server) -> None:
        """Istio's agents send the hints empty, and others that the CA ignores."""
        request = IstioCertificateRequest(csr=Key().csr)
        request.metadata.update(
            {"ImpersonatedIdentity": "", "CertSigner": "", "WorkloadName": "web", "ClusterID": 7}
        )
        assert uris(leaf_of(await server.call(request, token=server.token()))) == [WEB]
