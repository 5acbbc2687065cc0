"""Istio's CreateCertificate over the wire, against a real server: what is given, to whoever is proven."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse
from tests.e2e.istio_requests import PAYMENTS, WEB, leaf_of, pem, uris
from tests.fakes.pki import ec_key, make_csr, rsa_key
from tests.real.dev_server import Key, Server, reason, refused

HOUR = 3600


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
