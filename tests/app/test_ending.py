"""Facts about the warning before what signs comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.ending import INTERVAL, ROOTS_EVERY, EndWatch, autonomy, ending
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.authority.history import Record
from meshca.authority.lifecycle import State
from meshca.authority.slot import Slot
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig, SvidConfig
from meshca.config.upstream import FilesConfig, SecretConfig
from meshca.errors import Unavailable
from meshca.rotation.driver import Rotation
from meshca.rotation.progress import Progress
from meshca.rotation.report import AuthorityReport, RootReport
from meshca.upstream.ca_certificates import BACKDATE
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, make_ca, material_of
from tests.fakes.roots import NEW, OLD, intermediate, root

FILES = ServerConfig(upstream=FilesConfig(kind="files", dir=Path("/ca")))
HOURLY = FILES.model_copy(update={"svid": SvidConfig(default_lifetime=timedelta(hours=1))})
OWN = ServerConfig()
SECRET = ServerConfig(kubernetes=KubernetesConfig(), upstream=SecretConfig(kind="secret"))
VAULT = ServerConfig.model_validate(
    {
        "upstream": {
            "kind": "vault",
            "login": {"token": {"file": "/token"}},
            "roots": {"accept": "any"},
        }
    }
)
ROOT = make_ca("root")


def slot_of(life: timedelta, root: Ca = ROOT) -> Slot:
    """A signer whose life begins now."""
    return Slot.prove(
        material_of(make_ca("signer", root, begin=NOW, end=NOW + life), roots=[root]), TRUST_DOMAIN, NOW
    )


LEAVES = ServerConfig.model_validate(
    {
        "upstream": {
            "kind": "vault",
            "login": {"token": {"file": "/token"}},
            "roots": {"accept": "any"},
            "sign_leaves": {"role": "mesh-leaf"},
        }
    }
)
SHORT, MONTH, YEARS = slot_of(timedelta(hours=2)), slot_of(30 * DAY), slot_of(1000 * DAY)


@pytest.mark.parametrize(
    ("slot", "config", "left"),
    [
        pytest.param(MONTH, HOURLY, 6 * DAY, id="a fifth of its life"),
        pytest.param(YEARS, HOURLY, 30 * DAY, id="thirty days of a long life"),
        pytest.param(slot_of(5 * DAY), FILES, 2 * DAY, id="twice a workload's lifetime"),
        pytest.param(SHORT, FILES, timedelta(hours=1), id="half of a short life"),
        pytest.param(SHORT, OWN, timedelta(minutes=24), id="our own short one, renewed at half"),
        pytest.param(MONTH, VAULT, 6 * DAY, id="a fifth of what Vault signed, while it is there"),
    ],
)
def test_when_it_begins(slot: Slot, config: ServerConfig, left: timedelta) -> None:
    """Nothing is said a second before; from then on it is."""
    begin = slot.issuer.not_after - left
    assert ending(slot, config, begin - timedelta(seconds=1)) is None
    found = ending(slot, config, begin)
    assert found is not None
    assert found.urgency == 0


def test_alone_from_half_life_on() -> None:
    """While Vault does not sign, the warning begins when the next is due, and again at 1/4, 1/8 of the life."""
    end, half = MONTH.issuer.not_after, (30 * DAY - BACKDATE) / 2
    assert ending(MONTH, VAULT, end - half - timedelta(seconds=1), alone=True) is None
    lefts = (half, half / 2 + timedelta(seconds=1), half / 2, half / 4)
    found = [ending(MONTH, VAULT, end - left, alone=True) for left in lefts]
    assert [one.urgency for one in found if one] == [0, 0, 1, 2]
    assert ending(MONTH, OWN, end - half, alone=True) is None


@pytest.mark.parametrize(
    ("config", "slot", "detail"),
    [
        (FILES, MONTH, "the intermediate ended at 2026-01-31T00:00:00+00:00: put a new intermediate into /ca"),
        (OWN, MONTH, "the intermediate ended at 2026-01-31T00:00:00+00:00: it could not be renewed; mend what"),
        (SECRET, MONTH, "put a new intermediate into the Secret, or mend what signer.refused"),
        (VAULT, MONTH, "Vault did not sign another; run `meshca vault check`, which says what is wrong"),
    ],
    ids=["files", "self-signed", "secret", "vault"],
)
def test_says_what_to_do(config: ServerConfig, slot: Slot, detail: str) -> None:
    """The warning names what ends and when, and what to do about it."""
    found = ending(slot, config, NOW + 31 * DAY)
    assert found is not None
    assert detail in found.detail


def test_the_root_is_not_what_signs_below_it() -> None:
    """Its end is told with those of all trusted roots, also where it signs by itself."""
    ends_first = slot_of(9 * DAY, make_ca("old", end=NOW + 8 * DAY))
    itself = make_ca("itself", end=NOW + DAY)
    alone = Slot.prove(material_of(itself, roots=[itself]), TRUST_DOMAIN, NOW)
    assert ending(ends_first, OWN, NOW + DAY) is None
    assert ending(alone, OWN, NOW + DAY) is None


@given(st.timedeltas(timedelta(0), 31 * DAY), st.timedeltas(timedelta(0), 31 * DAY))
def test_urgency_only_grows(one: timedelta, other: timedelta) -> None:
    """Later is never less urgent, up to the end and after it."""
    urgencies = [
        found.urgency if (found := ending(MONTH, FILES, NOW + after)) else -1 for after in sorted((one, other))
    ]
    assert urgencies == sorted(urgencies)


AT_REST = RootReport(generation=1, sequence=1, bundle_version="a", authorities=(), fleet=None)


def reported(record: Record, left: timedelta) -> AuthorityReport:
    """One of ten years, with so much of them left."""
    return AuthorityReport(
        record=record, subject="CN=x", not_before=NOW + left - 3650 * DAY, not_after=NOW + left, leaves=3
    )


class Rig:
    """A watch over a signer of thirty days."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rotation = FakeRotation()
        loaded = Loaded(
            config=FILES, admission=UseAdmission(text="", source=""), policies=Policies(news=UsePolicies(files={}))
        )
        self.roots: list[AuthorityReport] = []
        self.down = False
        self.in_force = InForce(loaded, {})
        self.watch = EndWatch(cast("Rotation", self.rotation), self.in_force, self._report, self.clock)

    async def _report(self) -> RootReport:
        if self.down:
            raise Unavailable("store", "gone")
        return replace(AT_REST, authorities=tuple(self.roots))

    async def look(self, after: timedelta = timedelta(0)) -> None:
        """Let time pass, and the roots be looked at."""
        self.clock.move(after.total_seconds())
        await self.clock.advance(ROOTS_EVERY * INTERVAL + INTERVAL)


class FakeRotation:
    """A rotation that has published."""

    def __init__(self) -> None:
        self.progress = Progress(slot=MONTH)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A rig that looks."""
    made = Rig()
    task = asyncio.create_task(made.watch.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_logged_when_half_of_the_rest_has_gone(rig: Rig) -> None:
    """The warning is repeated at 6 days, 3 days, 36 hours, 18 hours, not at every look."""
    rig.clock.move((24 * DAY - timedelta(hours=1)).total_seconds())
    with captured_logs() as logs:
        counts = []
        for hours in (0, 2, 72, 36, 18):
            rig.clock.move(hours * 3600)
            await rig.clock.advance(600)
            counts.append(len(logs))
    assert counts == [0, 1, 2, 3, 4]
    assert {line["event"] for line in logs} == {"signer.ending"}


async def test_earlier_while_nobody_signs(rig: Rig) -> None:
    """With Vault away it is said from half life on; once it is there again, only in the last fifth."""
    rig.in_force.loaded = replace(rig.in_force.loaded, config=VAULT)
    rig.clock.move((16 * DAY).total_seconds())
    with captured_logs():
        await rig.clock.advance(10)
        assert rig.watch.warning == ""
        rig.rotation.progress = Progress(slot=MONTH, error=Unavailable("vault_sealed", "x"))
        await rig.clock.advance(10)
        assert "Vault did not sign another" in rig.watch.warning
        rig.rotation.progress = Progress(slot=MONTH)
        await rig.clock.advance(10)
    assert rig.watch.warning == ""


async def test_gone_with_a_newer_signer(rig: Rig) -> None:
    """Once a newer signer is in force nothing is wrong any more."""
    with captured_logs():
        rig.clock.move((29 * DAY).total_seconds())
        await rig.clock.advance(10)
        assert "put a new intermediate into /ca" in rig.watch.warning
        rig.rotation.progress = Progress(slot=YEARS)
        await rig.clock.advance(10)
    assert rig.watch.warning == ""


class TestRoots:
    """Every root that is trusted."""

    @pytest.fixture(autouse=True)
    def lasting(self, rig: Rig) -> None:
        """A signer that has years."""
        rig.rotation.progress = Progress(slot=YEARS)

    async def test_logged_once_for_each_threshold(self, rig: Rig) -> None:
        """Half a year, a quarter, a month and a week before its end."""
        rig.roots = [reported(root(), 200 * DAY)]
        with captured_logs() as logs:
            counts = []
            for days in (0, 20, 1, 90, 60, 23):
                await rig.look(days * DAY)
                counts.append(len(logs))
        assert counts == [0, 1, 1, 2, 3, 4]
        assert {(line["event"], line["root"]) for line in logs} == {("root.ending", OLD)}

    async def test_each_root_by_itself(self, rig: Rig) -> None:
        """Also one that signs no more, with who would break; an intermediate is told elsewhere."""
        rig.roots = [
            reported(root(OLD, State.RETIRING), 5 * DAY),
            reported(root(NEW), 20 * DAY),
            reported(intermediate("i", NEW), DAY),
        ]
        with captured_logs() as logs:
            await rig.look()
        assert [line["root"] for line in logs] == [OLD, NEW]
        assert "3 workloads hold one now" in logs[0]["detail"]
        assert rig.watch.warning == f"{logs[0]['detail']}; {logs[1]['detail']}"

    async def test_gone_with_a_newer_root(self, rig: Rig) -> None:
        """And told anew if it comes again."""
        ends = [reported(root(), DAY)]
        with captured_logs() as logs:
            rig.roots = ends
            await rig.look()
            rig.roots = []
            await rig.look()
            assert rig.watch.warning == ""
            rig.roots = ends
            await rig.look()
        assert len(logs) == 2

    async def test_what_cannot_be_read_is_looked_at_again(self, rig: Rig) -> None:
        """What was said before still stands."""
        rig.roots = [reported(root(), DAY)]
        with captured_logs() as logs:
            await rig.look()
            rig.down = True
            await rig.look()
        assert [line["event"] for line in logs] == ["root.ending", "root.not_looked_at"]
        assert rig.watch.warning == logs[0]["detail"]


@pytest.mark.parametrize(
    ("slot", "config", "left"),
    [(MONTH, VAULT, 30 * DAY), (MONTH, LEAVES, timedelta(0)), (None, OWN, timedelta(0))],
    ids=["we sign", "Vault signs leaves", "nobody signs yet"],
)
def test_autonomy(slot: Slot | None, config: ServerConfig, left: timedelta) -> None:
    """As long as what signs leaves lasts here; where the upstream signs them we cannot do without it at all."""
    assert autonomy(slot, config, NOW) == left
