"""Who is certified by Istio's CreateCertificate: whoever a certificate or a token proves, in this order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.errors import Unauthenticated
from tests.e2e.istio_requests import PAYMENTS, WEB, leaf_of, uris
from tests.real.dev_server import Key, Server, reason, refused, wait_for
from tests.real.pki import Pki


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
