"""Istio's CreateCertificate over the wire, against a real server."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse
from meshca.errors import Unauthenticated
from meshca.svid import der
from meshca.wire.tls import MAX_MESSAGE_BYTES
from tests.fakes.pki import ec_key, make_csr, rsa_key
from tests.real.dev_server import Key, Server, reason, refused, running_server, wait_for
from tests.real.pki import Pki

WEB = "spiffe://cluster.local/ns/shop/sa/web"
PAYMENTS = "spiffe://cluster.local/ns/shop/sa/payments"
HOUR = 3600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with defaults, one worker."""
    with running_server(tmp_path_factory.mktemp("ca"), settings={"MESHCA__WORKERS": "1"}) as running:
        yield running


def pem(der: bytes) -> str:
    """A request as clients send it."""
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def armoured(der: bytes) -> str:
    """The same for what our library would not read."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


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


def uris(leaf: x509.Certificate) -> list[str]:
    """The URI names of a certificate."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def leaf_of(answer: IstioCertificateResponse) -> x509.Certificate:
    """The first certificate of an answer."""
    return x509.load_pem_x509_certificate(answer.cert_chain[0].encode())


class TestWireContract:
    """The names and numbers of Istio's contract."""

    async def test_raw_bytes(self, server: Server) -> None:
        """Field 1 is the CSR, field 3 the seconds, and field 1 of the answer the chain; others are ignored."""
        csr = Key().csr.encode()
        length = bytes([len(csr) & 0x7F | 0x80, len(csr) >> 7])
        unknown = b"\x7a\x03abc"  # field 15
        request = b"\x0a" + length + csr + b"\x18\x90\x1c" + unknown  # 3600 seconds
        async with server.channel() as channel:
            method = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
            answer = await method(request, metadata=(("authorization", f"Bearer {server.token()}"),), timeout=20)
        assert answer[:1] == b"\x0a"
        leaf = leaf_of(IstioCertificateResponse.FromString(answer))
        assert leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=1)

    async def test_hole_is_ignored(self, server: Server) -> None:
        """Field 2, a hole in Istio's history, is ignored."""
        request = IstioCertificateRequest(csr=Key().csr).SerializeToString() + b"\x12\x03abc"
        answer = await server.call(IstioCertificateRequest.FromString(request), token=server.token())
        assert uris(leaf_of(answer)) == [WEB]


class TestChainShape:
    """The leaf first, one certificate in each element, all roots in the last."""

    async def test_elements(self, server: Server) -> None:
        """Each element but the last is one certificate; the last is every root."""
        answer = (await server.create(server.token())).answer
        certificates = [x509.load_pem_x509_certificates(element.encode()) for element in answer.cert_chain]
        assert len(certificates) >= 2
        assert [len(each) for each in certificates[:-1]] == [1] * (len(certificates) - 1)
        assert certificates[-1] == x509.load_pem_x509_certificates(server.root)
        assert all(element.endswith("\n") for element in answer.cert_chain)

    async def test_chain_verifies(self, server: Server) -> None:
        """Each certificate is signed by the next, up to a root."""
        answer = (await server.create(server.token())).answer
        certificates = [x509.load_pem_x509_certificates(element.encode())[0] for element in answer.cert_chain]
        for child, parent in itertools.pairwise(certificates):
            child.verify_directly_issued_by(parent)

    async def test_leaf_has_the_requested_key(self, server: Server) -> None:
        """The leaf certifies the key of the CSR."""
        certificate = await server.create(server.token())
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert certificate.leaf.public_key().public_bytes(*form) == (
            certificate.key.private.public_key().public_bytes(*form)
        )


class TestNames:
    """The identity comes from the caller, whatever the CSR asks for."""

    @pytest.mark.parametrize(
        "csr",
        [
            make_csr(),
            make_csr(names=[x509.UniformResourceIdentifier(WEB)]),
            make_csr(names=[x509.UniformResourceIdentifier(PAYMENTS)]),
            make_csr(names=[x509.DNSName("payments.shop.svc")]),
            make_csr(subject=[(NameOID.COMMON_NAME, "payments")]),
            make_csr(subject=[(NameOID.ORGANIZATION_NAME, "")]),
        ],
        ids=["none", "own", "another workload's", "a DNS name", "a common name", "Istio's empty O"],
    )
    async def test_only_the_callers_identity(self, server: Server, csr: bytes) -> None:
        """The certificate names exactly the caller's identity and nothing else."""
        leaf = leaf_of(await server.call(IstioCertificateRequest(csr=pem(csr)), token=server.token()))
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [name.value for name in names] == [WEB]
        assert leaf.subject == x509.Name([])

    async def test_extensions_are_not_copied(self, server: Server) -> None:
        """A CSR that asks to become a CA gets a leaf."""
        csr = make_csr(extensions=[x509.BasicConstraints(ca=True, path_length=None)])
        leaf = leaf_of(await server.call(IstioCertificateRequest(csr=pem(csr)), token=server.token()))
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


class TestRenewalByCertificate:
    """The still valid certificate renews itself on the mTLS port, without a token."""

    async def test_same_identity(self, server: Server) -> None:
        """A renewed certificate has the same identity, another serial, and can renew in its turn."""
        first = await server.create(server.token())
        second = await server.create(shown=first)
        third = await server.create(shown=second)
        assert [each.spiffe_id for each in (first, second, third)] == [WEB] * 3
        assert len({each.leaf.serial_number for each in (first, second, third)}) == 3

    async def test_token_port_does_not_see_certificates(self, server: Server) -> None:
        """On the token port there is no certificate, so a call without a token proves nobody."""
        error = await refused(server.create())
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "no_credential")

    async def test_token_works_on_the_mtls_port_too(self, server: Server) -> None:
        """Both ports serve the same services: with both shown, either way gives a certificate."""
        first = await server.create(server.token())
        assert (await server.create(server.token(), shown=first)).spiffe_id == WEB

    async def test_foreign_certificate_fails_the_handshake(self, server: Server) -> None:
        """A certificate of someone else's root only shows as Unavailable; it never reaches a handler."""
        pki, key = Pki(), Key()
        leaf = pki.leaf(WEB)
        credentials = grpc.ssl_channel_credentials(server.root, leaf.key, leaf.certificate + pki.root())
        async with grpc.aio.secure_channel(server.endpoint("endpoint-mtls"), credentials) as channel:
            method: Any = channel.unary_unary(
                "/istio.v1.auth.IstioCertificateService/CreateCertificate",
                IstioCertificateRequest.SerializeToString,
            )
            error = await refused(method(IstioCertificateRequest(csr=key.csr), timeout=20))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


class TestOrderOfAuthenticators:
    """A certificate wins over a token; the first success ends the chain; the client's text is opaque."""

    async def test_certificate_wins(self, server: Server) -> None:
        """With both shown, the identity is the certificate's."""
        web = await server.create(server.token("shop", "web"))
        both = await server.create(server.token("shop", "payments"), shown=web)
        assert both.spiffe_id == WEB

    async def test_bad_token_beside_a_good_certificate(self, server: Server) -> None:
        """A token that proves nobody does no harm beside a certificate that does."""
        web = await server.create(server.token())
        assert (await server.create("not a token", shown=web)).spiffe_id == WEB

    async def test_text_is_opaque(self, server: Server) -> None:
        """Whatever is wrong, the sentence is the same but for reason and request id."""
        sentences = set()
        for token in ("x", server.token(audience="other"), server.token(expires_in=timedelta(minutes=-5))):
            error = await refused(server.create(token))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            sentences.add((error.details() or "").partition(" (")[0])
        assert sentences == {Unauthenticated.public}

    async def test_reasons_are_logged(self, server: Server) -> None:
        """The private detail is in the log, under the request id that the client received."""
        error = await refused(server.create(server.token(audience="other")))
        request_id = dict(error.trailing_metadata() or ())["meshca-request-id"]

        def logged() -> list[dict[str, Any]]:
            return [line for line in server.log() if line.get("request_id") == request_id]

        await asyncio.to_thread(wait_for, logged)
        (line,) = logged()
        assert (line["event"], line["result"]) == ("issuance.decided", "refused")
        assert line["detail"]


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


class TestLifetime:
    """What is asked for, no longer than allowed, a little back-dated."""

    async def test_exact_seconds(self, server: Server) -> None:
        """A lifetime within the maximum is given to the second."""
        certificate = await server.create(server.token(), seconds=HOUR)
        assert certificate.leaf.not_valid_after_utc - certificate.leaf.not_valid_before_utc == timedelta(
            hours=1, minutes=2
        )

    async def test_zero_is_the_default(self, server: Server) -> None:
        """0 or absent means 24 hours."""
        leaf = (await server.create(server.token(), seconds=0)).leaf
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=24, minutes=2)

    async def test_longer_is_clamped_and_counted(self, server: Server) -> None:
        """A longer lifetime is shortened to the maximum, and that is counted."""
        before = server.metric("meshca_lifetimes_clamped_total")
        leaf = (await server.create(server.token(), seconds=30 * 24 * HOUR)).leaf
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=24, minutes=2)
        assert server.metric("meshca_lifetimes_clamped_total") == before + 1

    @pytest.mark.parametrize("seconds", [-1, -(2**63), 2**63 - 1, 10 * 366 * 24 * HOUR])
    async def test_nonsense_is_refused(self, server: Server, seconds: int) -> None:
        """Negative lifetimes and those over ten years are InvalidArgument."""
        error = await refused(server.create(server.token(), seconds=seconds))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "duration")

    async def test_back_dated(self, server: Server) -> None:
        """NotBefore is two minutes before the issuance."""
        before = datetime.now(UTC).replace(microsecond=0)
        leaf = (await server.create(server.token())).leaf
        assert before <= leaf.not_valid_before_utc + timedelta(minutes=2) <= datetime.now(UTC)


class TestProfile:
    """The profile of an X.509-SVID."""

    @pytest.fixture
    async def leaf(self, server: Server) -> x509.Certificate:
        """A fresh certificate."""
        return (await server.create(server.token())).leaf

    async def test_names(self, leaf: x509.Certificate) -> None:
        """The subject is empty, so the SAN is critical, with one URI."""
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert leaf.subject == x509.Name([])
        assert san.critical
        assert [type(name) for name in san.value] == [x509.UniformResourceIdentifier]

    async def test_usage(self, leaf: x509.Certificate) -> None:
        """Critical key usage with digitalSignature, no CA, both extended usages."""
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
        extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        assert not usage.value.crl_sign
        assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        assert not constraints.value.ca

    async def test_serial(self, leaf: x509.Certificate) -> None:
        """The serial has at least 128 bits and fits RFC 5280's 20 octets."""
        assert 128 <= leaf.serial_number.bit_length() <= 159

    async def test_key_identifiers(self, leaf: x509.Certificate) -> None:
        """Subject and authority key identifiers are set."""
        assert leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier


class TestKeyTypes:
    """RSA of 2048 bits and more, P-256 and P-384, in whatever form the client kept its key."""

    @pytest.mark.parametrize(
        "key",
        [ec_key(), ec_key(ec.SECP384R1()), rsa_key(2048), rsa_key(4096)],
        ids=["P-256", "P-384", "RSA-2048", "RSA-4096"],
    )
    async def test_issued(self, server: Server, key: Any) -> None:
        """A certificate for each supported type; RSA keys may also encipher."""
        answer = await server.call(IstioCertificateRequest(csr=pem(make_csr(key))), token=server.token())
        leaf = leaf_of(answer)
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        assert leaf.public_key() == key.public_key()
        assert usage.key_encipherment == (not isinstance(key, ec.EllipticCurvePrivateKey))


class TestTokens:
    """What a token must say; each refusal is Unauthenticated with its own reason."""

    async def test_each_workload_its_own(self, server: Server) -> None:
        """The identity is the token's service account."""
        found = {(await server.create(server.token("shop", name))).spiffe_id for name in ("web", "payments")}
        assert found == {WEB, PAYMENTS}

    async def test_two_tokens(self, server: Server) -> None:
        """Of several authorization values the first that begins with Bearer counts."""
        metadata = (
            ("authorization", "Basic abc"),
            ("authorization", f"Bearer {server.token('shop', 'web')}"),
            ("authorization", f"Bearer {server.token('shop', 'payments')}"),
        )
        answer = await server.call(IstioCertificateRequest(csr=Key().csr), metadata=metadata)
        assert uris(leaf_of(answer)) == [WEB]

    @pytest.mark.parametrize("header", ["bearer {}", "Istio {}", "{}", "Bearer{}"])
    async def test_other_schemes(self, server: Server, header: str) -> None:
        """A token under another scheme is not seen."""
        metadata = (("authorization", header.format(server.token())),)
        error = await refused(server.call(IstioCertificateRequest(csr=Key().csr), metadata=metadata))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "no_credential")

    async def test_cluster_header_is_harmless(self, server: Server) -> None:
        """Istio's clients send their cluster's name; one or several do no harm."""
        for metadata in [(("clusterid", "Kubernetes"),), (("clusterid", "a"), ("clusterid", "b"))]:
            answer = await server.call(
                IstioCertificateRequest(csr=Key().csr), token=server.token(), metadata=metadata
            )
            assert uris(leaf_of(answer)) == [WEB]
