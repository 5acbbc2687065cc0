"""A plugged-in CA is changed while the server runs: prepared, distributed and gated like any root, no jump."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.rotation.mesh import running_mesh
from tests.fakes.cacerts import Projected, cacerts
from tests.fakes.pki import DAY, Ca, make_ca
from tests.real.dev_server import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Cas:
    """Two roots with an intermediate each, made so short ago that meshca knows all that they have signed."""

    a: Ca
    b: Ca
    below_a: Ca
    below_b: Ca

    @property
    def only_a(self) -> dict[str, str]:
        """The files of A alone."""
        return cacerts(self.below_a, roots=(self.a,))

    @property
    def only_b(self) -> dict[str, str]:
        """The files of B alone."""
        return cacerts(self.below_b, roots=(self.b,))


@pytest.fixture
def cas() -> Cas:
    """Made for this test: those of a module are old when a long run comes to it."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)

    def made(name: str, issuer: Ca | None = None) -> Ca:
        return make_ca(name, issuer, begin=begin, end=begin + 30 * DAY)

    a, b = made("a"), made("b")
    return Cas(a=a, b=b, below_a=made("below a", a), below_b=made("below b", b))


def plugged_in(place: Path, cas: Cas) -> tuple[Projected, dict[str, str]]:
    """A mounted Secret with A in it, and the settings of a server that signs by it."""
    volume = Projected(place / "cacerts")
    volume.swap(cas.only_a)
    upstream = f"{{kind: files, dir: {volume.folder}}}"
    return volume, {"MESHCA__UPSTREAM": upstream, "MESHCA__SVID__DEFAULT_LIFETIME": "10s"}


def signed_below(ca: Ca, found: Certificate) -> bool:
    """Whether an intermediate signed a certificate."""
    return found.leaf.issuer == ca.certificate.subject


async def signs(ca: LiveCa, below: Ca) -> None:
    """What is issued is signed by an intermediate, a moment after it was kept that it is."""

    async def below_it() -> bool:
        return signed_below(below, await ca.server.create(ca.server.token(pod="web")))

    await until(below_it, "another intermediate signs")


async def went_by_the_table(ca: LiveCa, cas: Cas) -> None:
    """B did every step, none of them forced, and A was dropped when nobody held a certificate below it."""
    changes = [change for change in await ca.history() if change.kind is Kind.ROOT]
    named = {certificate_id(one.certificate): one for one in (cas.a, cas.b)}
    done = [(named[one.authority], one.act) for one in changes if one.act is not Act.PLAN][3:]
    steps = [
        (cas.b, None),
        (cas.b, Act.DISTRIBUTE),
        (cas.a, Act.SUPERSEDE),
        (cas.b, Act.ACTIVATE),
        (cas.a, Act.RETIRE),
    ]
    assert done == steps
    assert not any(one.forced for one in changes)
    guards = {one.act: one.guard for one in changes[3:]}
    assert guards[Act.ACTIVATE].startswith("1 of 1 workloads trust")
    assert guards[Act.RETIRE].startswith("no workload holds a certificate below")


async def test_by_turns(place: Path, cas: Cas) -> None:
    """A, then both, then a signer below B, then B alone; a workload that stands still holds it up at both."""
    volume, settings = plugged_in(place, cas)
    async with live_ca(place, settings) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            volume.swap(cacerts(cas.below_a, roots=(cas.a, cas.b)))
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            assert (await ca.report()).plan is None
            volume.swap(cacerts(cas.below_b, roots=(cas.a, cas.b)))
            await until(lambda: _gated(ca), "no closed gate before the activation of B")
            await signs(ca, cas.below_a)
            assert await ca.states() == [State.ACTIVE, State.DISTRIBUTING]
        await ca.reaches(State.RETIRING, State.ACTIVE)
        await signs(ca, cas.below_b)
        volume.swap(cas.only_b)
        await ca.finishes(State.RETIRED, State.ACTIVE)
        await went_by_the_table(ca, cas)


async def _gated(ca: LiveCa) -> bool:
    """Whether a rotation is under way whose gate is closed."""
    report = await ca.report()
    return report.plan is not None and report.gate is not None and not report.gate.open


async def test_at_once(place: Path, cas: Cas) -> None:
    """A replaced by B in one swap is the same rotation; a restart in the middle finds it where it was."""
    volume, settings = plugged_in(place, cas)
    async with live_ca(place, settings) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            volume.swap(cas.only_b)
            await until(lambda: _gated(ca), "no closed gate before the activation of B")
            await ca.kill()
            await ca.start()
            await until(lambda: _gated(ca), "the rotation is lost by the restart")
            assert await ca.states() == [State.ACTIVE, State.DISTRIBUTING]
            await signs(ca, cas.below_a)
        await ca.finishes(State.RETIRED, State.ACTIVE)
        await went_by_the_table(ca, cas)
        assert list((ca.folder / "data/plugged-in").glob("*.json")) == [_kept(ca, cas.b)]


async def test_bad_folder_in_the_middle(place: Path, cas: Cas) -> None:
    """What was plugged in before goes on to the end, and the status says what is wrong with the folder."""
    volume, settings = plugged_in(place, cas)
    async with live_ca(place, settings) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            volume.swap(cas.only_b)
            await until(lambda: _gated(ca), "no closed gate before the activation of B")
            volume.swap({**cas.only_b, "ca-key.pem": cas.below_a.key_pem})
            await until(lambda: _fault(ca), "the bad folder is not told")
            await signs(ca, cas.below_a)
        await ca.finishes(State.RETIRED, State.ACTIVE)
        assert await _fault(ca)
        volume.swap(cas.only_b)
        await until(lambda: _no_fault(ca), "the mended folder is not told")
        await went_by_the_table(ca, cas)


async def _fault(ca: LiveCa) -> bool:
    """Whether the status says that something is wrong with the folder."""
    return bool((await ca.ask(lambda client: client.status())).authority_error)


async def _no_fault(ca: LiveCa) -> bool:
    return not await _fault(ca)


def _kept(ca: LiveCa, root: Ca) -> Path:
    return ca.folder / "data/plugged-in" / f"{certificate_id(root.certificate)[:16]}.json"
