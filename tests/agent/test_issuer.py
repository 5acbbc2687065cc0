"""One try at a certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.bundle import parse_bundle
from meshca.agent.chain import fingerprint
from meshca.agent.issuer import Issuer, due
from meshca.agent.keys import KeyChoice
from meshca.agent.pin import RootFile, SystemRoots
from meshca.agent.svid import Expected, Svid
from meshca.agent.trust import Trust
from meshca.errors import BadRequest, Exhausted, MeshcaError, Unauthenticated, Unavailable
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.ca import OWN, FakeCa, Mood, Pair, authority
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANYBODY = Expected()


async def unreachable() -> tuple[x509.Certificate, ...]:
    """Nobody presents anything here."""
    raise AssertionError


class World:
    """A CA and an agent's issuer, on one clock."""

    def __init__(self, *, by_certificate: bool = True) -> None:
        self.clock = FakeClock(NOW)
        self.ca = FakeCa(self.clock)
        self.trust = Trust(SystemRoots(), fetch=unreachable, clock=self.clock)
        self.issuer = Issuer(
            ca=self.ca,
            trust=self.trust,
            clock=self.clock,
            key=KeyChoice.EC_P256,
            renew_by_certificate=by_certificate,
        )

    async def held(self) -> Svid:
        """The first certificate."""
        svid = await self.issuer.issue(None, ANYBODY)
        self.ca.asked.clear()
        return svid


async def test_the_first_certificate_comes_by_token() -> None:
    """There is nothing else to show."""
    world = World()
    svid = await world.issuer.issue(None, ANYBODY)
    assert str(svid.identity) == OWN
    assert world.ca.asked == ["token"]


async def test_a_renewal_comes_by_certificate() -> None:
    """The token is not needed while the certificate is valid."""
    world = World()
    held = await world.held()
    fresh = await world.issuer.issue(held, ANYBODY)
    assert world.ca.asked == ["certificate"]
    assert fresh.private != held.private


async def test_a_ca_without_a_port_for_certificates_is_asked_by_token() -> None:
    """As Istio's own CA."""
    world = World(by_certificate=False)
    await world.issuer.issue(await world.held(), ANYBODY)
    assert world.ca.asked == ["token"]


async def test_an_expired_certificate_is_not_shown() -> None:
    """It would only fail the handshake."""
    world = World()
    held = await world.held()
    world.clock.move(25 * 3600)
    await world.issuer.issue(held, ANYBODY)
    assert world.ca.asked == ["token"]


@pytest.mark.parametrize("mood", [Mood.REFUSE, Mood.DENY, Mood.DOWN, Mood.WRONG_KEY, Mood.FOREIGN_ROOT])
async def test_a_refused_certificate_falls_back_to_the_token(mood: Mood) -> None:
    """In the same try; a failed handshake shows as a CA that is down."""
    world = World()
    held = await world.held()
    world.ca.certificate_mood = mood
    await world.issuer.issue(held, ANYBODY)
    assert world.ca.asked == ["certificate", "token"]


async def test_a_busy_ca_is_not_asked_twice() -> None:
    """The same CA is behind both doors."""
    world = World()
    held = await world.held()
    world.ca.certificate_mood = Mood.BUSY
    with pytest.raises(Exhausted):
        await world.issuer.issue(held, ANYBODY)
    assert world.ca.asked == ["certificate"]


async def test_a_wrong_request_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token does not make it right."""
    world = World()
    held = await world.held()

    async def refuse(_csr: str, _mood: Mood) -> tuple[str, ...]:
        raise BadRequest("csr", "test")

    monkeypatch.setattr(FakeCa, "answer", lambda _self, csr, mood: refuse(csr, mood))
    with pytest.raises(BadRequest):
        await world.issuer.issue(held, ANYBODY)
    assert world.ca.asked == ["certificate"]


async def test_the_last_way_says_why_both_failed() -> None:
    """The token's refusal is what the operator can mend."""
    world = World()
    held = await world.held()
    world.ca.certificate_mood, world.ca.mood = Mood.DOWN, Mood.REFUSE
    with pytest.raises(Unauthenticated):
        await world.issuer.issue(held, ANYBODY)


@pytest.mark.parametrize(
    "mood", [Mood.GARBAGE, Mood.LEAF_ONLY, Mood.WRONG_KEY, Mood.EXPIRED, Mood.FUTURE, Mood.FOREIGN_ROOT]
)
async def test_a_bad_answer_is_no_certificate(mood: Mood) -> None:
    """Nothing of it is kept."""
    world = World()
    world.trust.first(parse_bundle(world.ca.root.pem, NOW))
    world.ca.mood = mood
    with pytest.raises(Unavailable):
        await world.issuer.issue(None, ANYBODY)


async def test_an_answer_without_roots_is_refused_where_none_are_held() -> None:
    """There would be nothing to check it with."""
    world = World()
    world.ca.mood = Mood.LEAF_ONLY
    with pytest.raises(MeshcaError):
        await world.issuer.issue(None, ANYBODY)
    assert world.trust.bundle is None


@pytest.mark.parametrize("mood", [Mood.WRONG_KEY, Mood.EXPIRED, Mood.OTHER_IDENTITY])
async def test_a_bad_first_answer_pins_no_roots(mood: Mood) -> None:
    """Its roots go with it; the next good answer's are taken."""
    world = World()
    world.ca.mood = mood
    with pytest.raises(Unavailable):
        await world.issuer.issue(None, Expected(identity=SpiffeId.parse(OWN)))
    assert world.trust.takes_first
    world.ca.mood = Mood.FOREIGN_ROOT
    svid = await world.issuer.issue(None, ANYBODY)
    assert world.trust.bundle not in {None, parse_bundle(world.ca.root.pem, NOW)}
    world.ca.certificate_mood = world.ca.mood = Mood.ISSUE
    with pytest.raises(Unavailable, match="untrusted_chain"):
        await world.issuer.issue(svid, ANYBODY)


def next_root() -> Pair:
    """A root that this agent has not heard of."""
    return authority("next root", NOW - timedelta(days=1), NOW + timedelta(days=365))


@pytest.mark.parametrize("learnt", [False, True], ids=["first roots", "learnt roots"])
async def test_an_agent_that_was_away_follows_to_the_new_root(learnt: bool) -> None:  # noqa: FBT001 - a row
    """Its certificate ended meanwhile: the answer leads to the new root and names the held one as well."""
    world = World()
    old = parse_bundle(world.ca.root.pem, NOW)
    (world.trust.learn if learnt else world.trust.first)(old)
    world.ca.sign_below(next_root())
    with captured_logs() as logs:
        svid = await world.issuer.issue(None, ANYBODY)
    assert fingerprint(world.ca.root.certificate) in svid.signers
    assert world.trust.bundle == parse_bundle(world.ca.root.pem + old.pem, NOW)
    assert [entry["event"] for entry in logs] == ["trust.followed"]


async def test_an_answer_that_leads_to_a_held_root_brings_no_other() -> None:
    """Whatever roots it names: those come over the stream."""
    world = World()
    world.trust.first(parse_bundle(world.ca.root.pem, NOW))
    world.ca.others.append(next_root())
    await world.issuer.issue(None, ANYBODY)
    assert world.trust.bundle == parse_bundle(world.ca.root.pem, NOW)


@pytest.mark.parametrize("fault", ["no held root", "no roots", "another key"])
async def test_roots_that_cannot_be_followed_change_nothing(fault: str) -> None:
    """Those of a stranger, what is no bundle, and those beside a certificate that is not acceptable for itself."""
    world = World()
    held = parse_bundle(world.ca.root.pem, NOW)
    world.trust.first(held)
    world.ca.sign_below(next_root())
    if fault == "no held root":
        world.ca.others.clear()
    elif fault == "another key":
        world.ca.mood = Mood.WRONG_KEY
    else:
        answer = world.ca.issue
        world.issuer = replace(world.issuer, ca=Answering(lambda csr: (*answer(csr)[:-1], "no PEM")))
    with pytest.raises(Unavailable, match="wrong_key" if fault == "another key" else "untrusted_chain"):
        await world.issuer.issue(None, ANYBODY)
    assert world.trust.bundle == held


async def test_roots_that_the_leaf_does_not_lead_to_are_not_followed() -> None:
    """Though they share the held one."""
    world = World()
    held = parse_bundle(world.ca.root.pem, NOW)
    world.trust.first(held)
    stranger, other = FakeCa(world.clock), next_root()
    roots = world.ca.root.pem + other.pem
    world.issuer = replace(world.issuer, ca=Answering(lambda csr: (*stranger.issue(csr)[:-1], roots)))
    with pytest.raises(Unavailable, match="untrusted_chain"):
        await world.issuer.issue(None, ANYBODY)
    assert world.trust.bundle == held


class Answering:
    """A CA that answers what a test says."""

    def __init__(self, answer: Callable[[str], Sequence[str]]) -> None:
        self._answer = answer

    async def by_token(self, csr: str) -> Sequence[str]:
        """As `Ca.by_token`."""
        return self._answer(csr)

    async def by_certificate(self, csr: str, svid: Svid) -> Sequence[str]:
        """As `Ca.by_certificate`."""
        return self._answer(csr)


async def test_without_any_root_nothing_is_accepted(tmp_path: Path) -> None:
    """A root file that was never read gives none, and the answer's own do not count."""
    world = World()
    world.issuer = replace(
        world.issuer, trust=Trust(RootFile(tmp_path / "none"), fetch=unreachable, clock=world.clock)
    )
    with pytest.raises(Unavailable) as caught:
        await world.issuer.issue(None, ANYBODY)
    assert caught.value.reason == "bad_bundle"


async def test_the_request_names_the_expected_identity() -> None:
    """A strict CA compares it with the caller."""
    world = World()
    await world.issuer.issue(None, Expected(identity=SpiffeId.parse(OWN)))
    names = x509.load_pem_x509_csr(world.ca.csrs[0].encode()).extensions
    assert OWN in str(names)


async def test_every_try_has_a_new_key() -> None:
    """Also after a failure."""
    world = World()
    world.ca.mood = Mood.REFUSE
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await world.issuer.issue(None, ANYBODY)
    first, second = (x509.load_pem_x509_csr(csr.encode()).public_key() for csr in world.ca.csrs)
    assert first != second


async def test_half_life_counts_from_the_receipt() -> None:
    """NotBefore lies two minutes back, which is more than half of a short life."""
    world = World()
    world.ca.lifetime = timedelta(seconds=60)
    svid = await world.issuer.issue(None, ANYBODY)
    assert due(svid, 0.5) == NOW + timedelta(seconds=30)
