"""SDS straight from the CA, over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshca import csr
from meshca.authority.adoption import Grade, Kind
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authz.model import Action, Policy, PolicySet, Rule
from meshca.config.resource_names import AUTHZ, DEFAULT, ROOTCA
from meshca.delivery import Delivery
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import TrustBundle
from meshca.errors import Denied, MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.identity.key_type import KeyType
from meshca.rpc.adoptions import Adoptions
from meshca.rpc.sds import ServerKeys
from meshca.rpc.server_keys import LINGER
from meshca.secret import Secret
from meshca.svid.draft import Issued
from meshca.svid.profile import Profile
from meshca.wire.interceptors import Guarded
from meshca.wire.xds_streams import Streams
from tests.fakes.adoption import RecordedAdoptions
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN, WEB, good_slot, grant_of
from tests.fakes.xds_client import ECDS, SDS, fetch, read_secret, written, xds_stream

METHOD = SDS + "StreamSecrets"
TOKEN = (("authorization", "Bearer good"),)
LIFE = timedelta(minutes=2)


class Ca:
    """A CA whose authenticators and admission a test controls; it signs for real."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        profile = Profile(default_lifetime=LIFE, max_lifetime=LIFE, refuse_longer=False)
        self.authority = Authority(Serials(1), profile)
        self.authority.replace(good_slot())
        self.delivery = Delivery(self.clock)
        self.streams = Streams(self.clock)
        self.store = RecordedAdoptions()
        self.caller = replace(caller(), until=self.clock.now() + timedelta(hours=1))
        self.requests: list[str] = []
        self.keys: list[str] = []
        self.refusal: MeshcaError | None = None
        self.mismatched = False
        self.service = ServerKeys(
            prove=self.prove,
            issue=self.issue,
            delivery=self.delivery,
            adoptions=Adoptions(self.store, TRUST_DOMAIN, self.clock, "worker-1"),
            streams=self.streams,
            trust_domain=TRUST_DOMAIN,
            clock=self.clock,
        )

    async def prove(self, credential: Credential) -> Caller:
        """Two tokens are good, both of the same caller."""
        if credential.unverified_token is None or credential.unverified_token.reveal() not in {"good", "other"}:
            raise Unauthenticated("token_signature", "private")
        return self.caller

    async def issue(self, credential: Credential, request_id: str) -> tuple[Issued, Secret[str]]:
        """As the pipeline does."""
        await self.prove(credential)
        self.requests.append(request_id)
        if self.refusal is not None:
            raise self.refusal
        private, key = csr.fresh_key(KeyType.EC_P256)
        self.keys.append(private.reveal())
        draft = self.authority.draft(grant_of(WEB), key, LIFE, self.clock.now())
        issued = self.authority.sign(draft, self.clock.now())
        return issued, csr.fresh_key(KeyType.EC_P256)[0] if self.mismatched else private


@pytest.fixture
async def ca() -> AsyncIterator[Ca]:
    """With roots and an empty policy set; nothing of it runs on when the test ends."""
    ca = Ca()
    ca.delivery.publish_roots(TrustBundle(pem="root a"))
    await ca.delivery.publish_policies(PolicySet())
    sweeping = asyncio.create_task(ca.streams.run())
    yield ca
    sweeping.cancel()


@pytest.fixture
async def channel(ca: Ca, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    server = grpc.aio.server()
    ca.service.add_to(Guarded(server))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel
    await server.stop(0)


@pytest.mark.parametrize("method", [SDS + "StreamSecrets", SDS + "DeltaSecrets"], ids=["sotw", "delta"])
@pytest.mark.parametrize("name", [DEFAULT, str(WEB)])
async def test_caller_gets_a_key_and_certificate_of_its_own(
    ca: Ca, channel: grpc.aio.Channel, method: str, name: str
) -> None:
    """They match, and carry the caller's identity."""
    async with xds_stream(channel, method, metadata=TOKEN) as stream:
        await stream.ask(name)
        (body,) = (await stream.answer()).values()
    pair = read_secret(body).tls_certificate
    leaf = x509.load_pem_x509_certificate(pair.certificate_chain.inline_bytes)
    key: Any = load_pem_private_key(pair.private_key.inline_bytes, None)
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(WEB)]


async def test_streams_of_one_envoy_cause_one_issuance(ca: Ca, channel: grpc.aio.Channel) -> None:
    """One stream for each secret, as Envoy opens them, and one for the policies."""
    async with (
        xds_stream(channel, METHOD, metadata=TOKEN) as roots,
        xds_stream(channel, METHOD, metadata=TOKEN) as inbound,
        xds_stream(channel, METHOD, metadata=TOKEN) as outbound,
        xds_stream(channel, ECDS + "StreamExtensionConfigs", metadata=TOKEN) as policies,
    ):
        await roots.ask(ROOTCA)
        assert read_secret((await roots.answer())["0"]).validation_context.trusted_ca.inline_bytes == b"root a"
        await policies.ask(AUTHZ)
        await policies.answer()
        assert ca.requests == []
        await inbound.ask(DEFAULT)
        await outbound.ask(DEFAULT)
        one, other = [(await stream.answer())["0"] for stream in (inbound, outbound)]
        assert read_secret(one) == read_secret(other)
    assert len(ca.requests) == 1


async def test_other_token_on_the_same_connection_gets_its_own(ca: Ca, channel: grpc.aio.Channel) -> None:
    """A proxy may carry several callers."""
    other = (*TOKEN, ("clusterid", "elsewhere"))
    async with (
        xds_stream(channel, METHOD, metadata=TOKEN) as one,
        xds_stream(channel, METHOD, metadata=other) as two,
    ):
        await one.ask(DEFAULT)
        await two.ask(DEFAULT)
        first, second = [(await stream.answer())["0"] for stream in (one, two)]
        assert read_secret(first) != read_secret(second)
    assert len(ca.requests) == 2


async def test_key_outlives_the_age_of_connections(ca: Ca, channel: grpc.aio.Channel, tmp_path: Path) -> None:
    """Who comes back with the same token over another connection finds it; nobody else does."""
    answers = []
    for _ in range(3):
        async with (
            grpc.aio.insecure_channel(
                f"unix:{tmp_path}/s", options=[("grpc.use_local_subchannel_pool", 1)]
            ) as fresh,
            xds_stream(fresh, METHOD, metadata=TOKEN) as stream,
        ):
            await stream.ask(DEFAULT)
            answers.append(read_secret((await stream.answer())["0"]))
        await ca.clock.advance(LIFE.total_seconds() / 10)
    assert (len(ca.requests), answers) == (1, answers[:1] * 3)
    async with xds_stream(channel, METHOD, metadata=(("authorization", "Bearer other"),)) as stream:
        await stream.ask(DEFAULT)
        assert read_secret((await stream.answer())["0"]) not in answers


async def test_other_labels(ca: Ca, channel: grpc.aio.Channel) -> None:
    """A stream that is proven with other labels gets their policies, also with the same token."""
    deny = Policy(
        name="quarantine",
        namespace="shop",
        action=Action.DENY,
        rules=(Rule(),),
        selector={"quarantine": "true"},
    )
    await ca.delivery.publish_policies(PolicySet(policies=(deny,)))
    answers = []
    async with contextlib.AsyncExitStack() as streams:  # none ends before the next begins
        kinds: list[dict[str, str]] = [{}, {"quarantine": "true"}, {}]
        for labels in kinds:
            ca.caller = replace(ca.caller, labels=labels)
            policies = await streams.enter_async_context(
                xds_stream(channel, ECDS + "StreamExtensionConfigs", metadata=TOKEN)
            )
            await policies.ask(AUTHZ)
            answers.append((await policies.answer())["0"])
    assert answers[0] == answers[2] != answers[1]


async def test_renewed_pair_is_pushed_at_half_life(ca: Ca, channel: grpc.aio.Channel) -> None:
    """A new key, on the same stream, under a request id of its own; roots are not pushed again."""
    async with (
        xds_stream(channel, METHOD, metadata=TOKEN) as stream,
        xds_stream(channel, METHOD, metadata=TOKEN) as roots,
    ):
        await roots.ask(ROOTCA)
        await roots.answer()
        await stream.ask(DEFAULT)
        first = read_secret((await stream.answer())["0"]).tls_certificate
        await stream.ack()
        await written(ca.streams)
        await ca.clock.advance(LIFE.total_seconds() * 0.56)
        second = read_secret((await stream.answer())["0"]).tls_certificate
    assert first.private_key != second.private_key
    assert len(set(ca.requests)) == 2
    assert [record.sent_version for record in ca.store.records if record.sent_version] != []


async def test_a_pair_is_replaced_by_order(ca: Ca, channel: grpc.aio.Channel) -> None:
    """On the same stream, below the new signer; the order itself is no resource of an Envoy's."""
    old = ca.authority.current().issuer.signer_id
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        first = read_secret((await stream.answer())["0"]).tls_certificate
        await stream.ack()
        await written(ca.streams)
        ca.authority.replace(good_slot())
        ca.delivery.publish_order(RenewalOrder(signers=frozenset({old}), begun_at=ca.clock.now()))
        second = read_secret((await stream.answer())["0"]).tls_certificate
    assert first.certificate_chain != second.certificate_chain
    assert len(set(ca.requests)) == 2


async def test_refused_caller_gets_the_status_of_the_pipeline(ca: Ca, channel: grpc.aio.Channel) -> None:
    """And may have the roots all the same."""
    ca.refusal = Denied("no_rule", "private")
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "no_rule")
    assert trailers["meshca-request-id"] == ca.requests[0]
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(ROOTCA)
        await stream.answer()


async def test_recovers_with_the_ca(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Down: the stream ends; back: the next stream gets a certificate."""
    ca.refusal = Unavailable("no_signer", "private")
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        assert (await stream.status())[0] is grpc.StatusCode.UNAVAILABLE
    ca.refusal = None
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        assert read_secret((await stream.answer())["0"]).tls_certificate.private_key.inline_bytes


async def test_unproven_caller_gets_nothing(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Neither a stream nor a fetch; not even roots."""
    async with xds_stream(channel, METHOD) as stream:
        assert (await stream.status())[0] is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await fetch(channel, SDS + "FetchSecrets", ROOTCA, node={"id": "n"})
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_stream_ends_when_the_token_does(ca: Ca, channel: grpc.aio.Channel) -> None:
    """With UNAVAILABLE, and the key is gone soon."""
    ca.caller = replace(ca.caller, until=ca.clock.now() + timedelta(seconds=60))
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        await stream.answer()
        await written(ca.streams)
        await ca.clock.advance(61)
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAVAILABLE, "proof_ended")
    assert all(holding.idle for holding in ca.service._holdings.values())
    await ca.clock.advance(LINGER)
    assert all(holding.keyless for holding in ca.service._holdings.values())


async def test_ended_token_causes_no_issuance(ca: Ca, channel: grpc.aio.Channel) -> None:
    """An Envoy whose token is not rotated comes back again and again; it must not get a key each time."""
    ca.caller = replace(ca.caller, until=ca.clock.now())
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        assert (await stream.status())[0] is grpc.StatusCode.UNAUTHENTICATED
    assert ca.requests == []


async def test_pair_that_does_not_match_is_not_pushed(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Envoy would refuse it; the stream ends as a fault of ours."""
    ca.mismatched = True
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        code, details, _ = await stream.status()
    assert code is grpc.StatusCode.INTERNAL
    assert "key" not in details


async def test_renewal_that_breaks_begins_the_stream_anew(ca: Ca, channel: grpc.aio.Channel) -> None:
    """A defect of ours is logged with its trace and ends the connection's streams."""
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(DEFAULT)
        await stream.answer()
        await stream.ack()

        async def broken(_credential: Credential, _request_id: str) -> tuple[Issued, Secret[str]]:
            raise RuntimeError("a defect")

        ca.service._issue = broken
        with captured_logs() as logs:
            await written(ca.streams)
            await ca.clock.advance(LIFE.total_seconds() * 0.56)
            code, _, _ = await stream.status()
    assert code is grpc.StatusCode.INTERNAL
    assert "sds.renewal_broken" in [entry["event"] for entry in logs]


async def test_fetch_makes_a_key_for_one_answer(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Nothing is kept of it for long."""
    answer = await fetch(channel, SDS + "FetchSecrets", DEFAULT, ROOTCA, metadata=TOKEN)
    assert [read_secret(resource.value).name for resource in answer.resources] == [DEFAULT, ROOTCA]
    await ca.clock.advance(LINGER)
    gc.collect()
    assert len(ca.service._holdings) == 0
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await fetch(channel, SDS + "FetchSecrets", "unknown", metadata=TOKEN)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_keys_are_in_no_log_line(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Whatever happens on the stream."""
    with captured_logs() as logs:
        async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
            await stream.ask(DEFAULT, "unknown")
            await stream.answer()
            await stream.nack("no")
            await stream.call.done_writing()
            await stream.status()
    (key,) = ca.keys
    middle = key.splitlines()[1]
    assert logs
    assert middle not in str(logs)
    assert "good" not in str(logs)


async def test_envoys_answers_are_adoptions(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Measured here, too: an Envoy vouches for itself."""
    async with xds_stream(channel, METHOD, metadata=TOKEN, node_id="edge-1") as stream:
        await stream.ask(ROOTCA)
        await stream.answer()
        await stream.ack()
        await stream.call.done_writing()
        await stream.status()
    record = ca.store.last(Kind.ROOTS)
    assert (record.node_id, record.grade) == ("edge-1", Grade.ENVOY)
    assert record.adopted_version == ca.delivery.versions.roots
