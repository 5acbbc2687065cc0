"""CreateCertificate over real TLS ports of a fake CA."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.agent.bundle import parse_bundle
from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.chain import fingerprint
from meshca.agent.channel import Lent, open_channel
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.pin import Fingerprint, Pin, RootFile
from meshca.agent.presented import presented_chain
from meshca.agent.svid import Expected, Svid, accept, answered_roots
from meshca.agent.target import Target
from meshca.agent.trust import Trust
from meshca.clock import SystemClock
from meshca.errors import Denied, Exhausted, MeshcaError, Unauthenticated, Unavailable
from tests.fakes.ca import FakeCa, Mood, ServingCa, serving_ca

KEY = fresh_key(KeyChoice.EC_P256, None)


@pytest.fixture
async def serving() -> AsyncIterator[ServingCa]:
    """A CA on loopback."""
    async with serving_ca(FakeCa(SystemClock())) as up:
        yield up


class Desk:
    """What a client needs: a root file, a token file, an address."""

    def __init__(self, folder: Path, serving: ServingCa) -> None:
        self.serving = serving
        self.root = folder / "root.pem"
        self.token = folder / "token"
        self.root.write_text(serving.ca.root.pem)
        self.token.write_text("a.b.c\n")

    def client(
        self,
        *,
        pin: Pin | None = None,
        timeout: float = 10.0,
        server_name: str = "",
        token: Target | None = None,
        lent: Lent | None = None,
    ) -> CaClient:
        """A client."""
        target = token or self.serving.token
        trust = Trust(
            pin or RootFile(self.root),
            fetch=lambda: presented_chain(target, server_name, timeout),
            clock=SystemClock(),
        )
        return CaClient(
            address=CaAddress(token=target, mtls=self.serving.mtls, server_name=server_name),
            trust=trust,
            token_file=self.token,
            timeout=timeout,
            lifetime=3600,
            lent=lent or Lent(),
        )

    async def svid(self) -> Svid:
        """A certificate of this CA."""
        now = SystemClock().now()
        return accept(
            self.serving.ca.issue(KEY.csr), KEY, parse_bundle(self.serving.ca.root.pem, now), Expected(), now
        )


@pytest.fixture
def desk(tmp_path: Path, serving: ServingCa) -> Desk:
    """Files on disk."""
    return Desk(tmp_path, serving)


async def test_the_token_is_sent_as_a_bearer(desk: Desk) -> None:
    """Trimmed."""
    answer = await desk.client().by_token(KEY.csr)
    assert len(answer) == 3
    assert desk.serving.ca.tokens == ["Bearer a.b.c"]


async def test_the_token_is_read_at_every_call(desk: Desk) -> None:
    """The kubelet replaces it."""
    client = desk.client()
    await client.by_token(KEY.csr)
    desk.token.write_text("d.e.f")
    await client.by_token(KEY.csr)
    assert desk.serving.ca.tokens == ["Bearer a.b.c", "Bearer d.e.f"]


async def test_a_certificate_takes_the_place_of_the_token(desk: Desk) -> None:
    """On the other port, and no token is sent there."""
    desk.token.unlink()
    answer = await desk.client().by_certificate(KEY.csr, await desk.svid())
    assert len(answer) == 3
    assert desk.serving.ca.tokens == [""]


@contextlib.asynccontextmanager
async def lending(desk: Desk, svid: Svid, target: Target) -> AsyncIterator[Lent]:
    """A channel of the stream to this port, lent."""
    lent = Lent()
    roots = desk.serving.ca.root.pem.encode()
    async with open_channel(target, roots=roots, server_name="", svid=svid) as channel:
        lent.offer(channel, svid)
        yield lent


async def test_a_lent_channel_saves_the_handshake(desk: Desk) -> None:
    """However often it is asked over it; without one each call has a handshake of its own."""
    svid, ca = await desk.svid(), desk.serving.ca
    async with lending(desk, svid, desk.serving.mtls) as lent:
        for _ in range(3):
            assert await desk.client(lent=lent).by_certificate(KEY.csr, svid)
        assert desk.serving.handshakes == ["certificate"]
        await desk.client(lent=lent).by_certificate(KEY.csr, await desk.svid())
    assert desk.serving.handshakes == ["certificate", "certificate"]
    assert ca.asked == ["certificate"] * 4


async def test_an_answer_over_a_lent_channel_has_no_roots(desk: Desk) -> None:
    """The roots that it was opened with may have been dropped since; the stream teaches new ones."""
    svid = await desk.svid()
    async with lending(desk, svid, desk.serving.mtls) as lent:
        answer = await desk.client(lent=lent).by_certificate(KEY.csr, svid)
    assert len(answer) == 3
    assert not answered_roots(answer)


async def test_a_dead_channel_is_replaced_by_a_new_one(desk: Desk) -> None:
    """The renewal does not wait for the stream."""
    svid = await desk.svid()
    async with lending(desk, svid, Target(host="127.0.0.1", port=1)) as lent:
        assert await desk.client(lent=lent).by_certificate(KEY.csr, svid)
    assert desk.serving.handshakes == ["certificate"]


async def test_a_ca_that_went_and_came_is_asked_over_the_channel_that_was_lent(desk: Desk) -> None:
    """Which gRPC connects anew."""
    svid = await desk.svid()
    async with lending(desk, svid, desk.serving.mtls) as lent:
        await desk.client(lent=lent).by_certificate(KEY.csr, svid)
        await desk.serving.stop()
        await desk.serving.start()
        assert await desk.client(lent=lent).by_certificate(KEY.csr, svid)


@pytest.mark.parametrize(
    ("mood", "kind"),
    [
        (Mood.REFUSE, Unauthenticated),
        (Mood.DENY, Denied),
        (Mood.BUSY, Exhausted),
        (Mood.DOWN, Unavailable),
    ],
)
async def test_what_the_ca_decides_over_a_lent_channel_stands(
    desk: Desk, mood: Mood, kind: type[MeshcaError]
) -> None:
    """It is not asked again over another one."""
    svid, ca = await desk.svid(), desk.serving.ca
    ca.certificate_mood = mood
    async with lending(desk, svid, desk.serving.mtls) as lent:
        with pytest.raises(kind):
            await desk.client(lent=lent).by_certificate(KEY.csr, svid)
    assert ca.asked == ["certificate"]


async def test_a_ca_that_hangs_over_a_lent_channel_is_asked_over_another_connection(desk: Desk) -> None:
    """That may lead to another replica, and has the other half of the time."""
    svid, ca = await desk.svid(), desk.serving.ca
    ca.certificate_mood = Mood.HANG
    async with lending(desk, svid, desk.serving.mtls) as lent:
        asking = asyncio.create_task(desk.client(lent=lent, timeout=4).by_certificate(KEY.csr, svid))
        await ca.hung.wait()
        ca.certificate_mood = Mood.ISSUE
        assert await asking
    assert desk.serving.handshakes == ["certificate", "certificate"]


async def test_both_connections_have_one_deadline(desk: Desk) -> None:
    """Whoever hangs on each."""
    svid = await desk.svid()
    desk.serving.ca.certificate_mood = Mood.HANG
    async with lending(desk, svid, desk.serving.mtls) as lent:
        with pytest.raises(Unavailable, match=r"within 0\.5 s") as caught:
            await desk.client(lent=lent, timeout=0.5).by_certificate(KEY.csr, svid)
    assert caught.value.reason == "ca_deadline"


async def test_a_certificate_that_fails_the_handshake_is_unavailable(desk: Desk) -> None:
    """That is all gRPC tells; the token is tried next."""
    stranger = FakeCa(SystemClock())
    now = SystemClock().now()
    svid = accept(stranger.issue(KEY.csr), KEY, parse_bundle(stranger.root.pem, now), Expected(), now)
    with pytest.raises(Unavailable) as caught:
        await desk.client().by_certificate(KEY.csr, svid)
    assert caught.value.reason == "ca_unavailable"


async def test_renewal_by_certificate_needs_its_port(desk: Desk) -> None:
    """An error of ours before anything is sent."""
    client = CaClient(
        address=CaAddress(token=desk.serving.token), trust=desk.client().trust, token_file=desk.token
    )
    with pytest.raises(Unavailable, match="--endpoint-mtls"):
        await client.by_certificate(KEY.csr, await desk.svid())


@pytest.mark.parametrize(
    ("mood", "kind", "reason"),
    [
        (Mood.REFUSE, Unauthenticated, "ca_unauthenticated"),
        (Mood.BUSY, Exhausted, "ca_busy"),
        (Mood.DOWN, Unavailable, "ca_unavailable"),
    ],
)
async def test_a_refusal_becomes_an_error_of_ours(
    desk: Desk, mood: Mood, kind: type[MeshcaError], reason: str
) -> None:
    """With the CA's address and its own sentence."""
    desk.serving.ca.mood = mood
    with pytest.raises(kind, match=str(desk.serving.token)) as caught:
        await desk.client().by_token(KEY.csr)
    assert caught.value.reason == reason


async def test_the_retry_hint_of_the_ca_is_read(desk: Desk) -> None:
    """7 s, as the fake says."""
    desk.serving.ca.mood = Mood.BUSY
    with pytest.raises(Exhausted) as caught:
        await desk.client().by_token(KEY.csr)
    assert caught.value.retry_after == 7.0


async def test_a_ca_that_hangs_is_left_after_the_deadline(desk: Desk) -> None:
    """One deadline for the whole call."""
    desk.serving.ca.mood = Mood.HANG
    with pytest.raises(Unavailable) as caught:
        await desk.client(timeout=0.3).by_token(KEY.csr)
    assert caught.value.reason == "ca_deadline"


async def test_a_server_that_never_speaks_tls_is_left_after_the_deadline(desk: Desk) -> None:
    """The handshake is within the deadline too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target(host="127.0.0.1", port=silent.getsockname()[1])
        for pin in (None, Fingerprint("0" * 64)):
            with pytest.raises(Unavailable):
                await desk.client(pin=pin, timeout=0.3, token=target).by_token(KEY.csr)


async def test_a_ca_that_is_down_is_unavailable(desk: Desk) -> None:
    """Connection refused."""
    await desk.serving.stop()
    with pytest.raises(Unavailable) as caught:
        await desk.client().by_token(KEY.csr)
    assert caught.value.reason == "ca_unavailable"


async def test_a_ca_below_another_root_is_not_talked_to(desk: Desk) -> None:
    """The token never leaves; the error says what to check."""
    desk.root.write_text(FakeCa(SystemClock()).root.pem)
    with pytest.raises(Unavailable, match="--server-name") as caught:
        await desk.client().by_token(KEY.csr)
    assert caught.value.reason == "ca_untrusted"
    assert desk.serving.ca.tokens == []


async def test_a_ca_below_a_new_root_is_named(desk: Desk) -> None:
    """What it presents is fetched once the handshake was refused; nothing of it is believed."""
    desk.root.write_text(FakeCa(SystemClock()).root.pem)
    with pytest.raises(Unavailable, match=fingerprint(desk.serving.ca.root.certificate)) as caught:
        await desk.client().by_token(KEY.csr)
    assert "unverified" in caught.value.detail
    assert desk.serving.ca.tokens == []


async def test_a_ca_with_another_name_is_not_talked_to(desk: Desk) -> None:
    """The right root is not enough."""
    with pytest.raises(Unavailable) as caught:
        await desk.client(server_name="other.test").by_token(KEY.csr)
    assert caught.value.reason == "ca_untrusted"
    assert desk.serving.ca.tokens == []


async def test_the_expected_name_can_be_given(desk: Desk) -> None:
    """For a CA behind another address."""
    assert await desk.client(server_name="ca.test").by_token(KEY.csr)


async def test_a_pinned_fingerprint_is_enough(desk: Desk) -> None:
    """The root comes from the CA's own handshake."""
    pin = Fingerprint(fingerprint(desk.serving.ca.root.certificate))
    assert await desk.client(pin=pin).by_token(KEY.csr)


async def test_a_wrong_fingerprint_is_not_talked_to(desk: Desk) -> None:
    """The token never leaves."""
    with pytest.raises(Unavailable) as caught:
        await desk.client(pin=Fingerprint("0" * 64)).by_token(KEY.csr)
    assert caught.value.reason == "wrong_fingerprint"
    assert desk.serving.ca.tokens == []


async def test_a_missing_token_is_our_own_error(desk: Desk) -> None:
    """Nothing is sent without it."""
    desk.token.unlink()
    with pytest.raises(Unavailable) as caught:
        await desk.client().by_token(KEY.csr)
    assert caught.value.reason == "token_file"
