"""A server with the strict choices, over the wire: foreign names and long lifetimes are refused, not mended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from tests.fakes.pki import make_csr
from tests.real.dev_server import Server, reason, refused, running_server

WEB = "spiffe://cluster.local/ns/shop/sa/web"
PAYMENTS = "spiffe://cluster.local/ns/shop/sa/payments"
URI = x509.UniformResourceIdentifier
HOUR = 3600
CLAMPED = "meshca_lifetimes_clamped_total"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A strict server, whose signing intermediate ends before the longest certificate would."""
    settings = {
        "MESHCA__WORKERS": "1",
        "MESHCA__CSR__MODE": "strict",
        "MESHCA__SVID__OVER_MAXIMUM": "refuse",
        "MESHCA__UPSTREAM": "{kind: self_signed, intermediate_lifetime: 2h}",
    }
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


def pem(der: bytes) -> str:
    """A request as clients send it."""
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


class TestNames:
    """`csr.mode: strict`: a CSR may ask for nothing, or for exactly what the caller is."""

    @pytest.mark.parametrize(
        "csr",
        [
            make_csr(names=[URI(PAYMENTS)]),
            make_csr(names=[URI(WEB), URI(PAYMENTS)]),
            make_csr(names=[URI(WEB.upper())]),
            make_csr(names=[URI(WEB), x509.DNSName("web.shop.svc")]),
            make_csr(names=[x509.DNSName("payments.shop.svc")]),
            make_csr(subject=[(NameOID.COMMON_NAME, "payments")]),
        ],
        ids=["another workload's", "own and another's", "upper case", "own and DNS", "DNS", "common name"],
    )
    async def test_other_names_are_refused(self, server: Server, csr: bytes) -> None:
        """Whoever asks for another name gets InvalidArgument, by token and by certificate."""
        request, held = IstioCertificateRequest(csr=pem(csr)), await server.create(server.token())
        for call in (server.call(request, token=server.token()), server.call(request, shown=held)):
            error = await refused(call)
            assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "csr_names")
            assert "payments" not in (error.details() or "")

    @pytest.mark.parametrize(
        "csr",
        [make_csr(), make_csr(names=[URI(WEB)]), make_csr(subject=[(NameOID.ORGANIZATION_NAME, "")])],
        ids=["none", "own", "Istio's empty O"],
    )
    async def test_own_or_none(self, server: Server, csr: bytes) -> None:
        """Nothing, or the own SPIFFE ID, is answered with a certificate for it."""
        answer = await server.call(IstioCertificateRequest(csr=pem(csr)), token=server.token())
        leaf = x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [name.value for name in names] == [WEB]


class TestLifetime:
    """`svid.over_maximum: refuse`: nobody gets less than was asked for without being told."""

    async def test_longer_is_refused(self, server: Server) -> None:
        """One second more than the maximum is InvalidArgument, names the maximum, and counts nothing."""
        error = await refused(server.create(server.token(), seconds=24 * HOUR + 1))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "duration")
        assert str(24 * HOUR) in (error.details() or "")
        assert server.metric(CLAMPED) == 0

    async def test_shorter_is_given(self, server: Server) -> None:
        """A lifetime within the maximum is given to the second."""
        leaf = (await server.create(server.token(), seconds=HOUR)).leaf
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=1, minutes=2)

    async def test_no_longer_than_the_issuers(self, server: Server) -> None:
        """A certificate ends with the first of the issuers above it, though more was asked for and is allowed."""
        answer = (await server.create(server.token(), seconds=24 * HOUR)).answer
        ends = [x509.load_pem_x509_certificate(each.encode()).not_valid_after_utc for each in answer.cert_chain]
        leaf, *above = ends
        assert leaf == min(above)
