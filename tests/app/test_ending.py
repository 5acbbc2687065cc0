"""Facts about the warning before what signs comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.ending import EndWatch, ending
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.authority.slot import Slot
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig, SvidConfig
from meshca.config.upstream import FilesConfig, SecretConfig
from meshca.rotation.driver import Progress, Rotation
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, make_ca, material_of

FILES = ServerConfig(upstream=FilesConfig(kind="files", dir=Path("/ca")))
HOURLY = FILES.model_copy(update={"svid": SvidConfig(default_lifetime=timedelta(hours=1))})
OWN = ServerConfig()
SECRET = ServerConfig(kubernetes=KubernetesConfig(), upstream=SecretConfig(kind="secret"))
ROOT = make_ca("root")


def slot_of(life: timedelta, root: Ca = ROOT) -> Slot:
    """A signer whose life begins now."""
    return Slot.prove(
        material_of(make_ca("signer", root, begin=NOW, end=NOW + life), roots=[root]), TRUST_DOMAIN, NOW
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
    ],
)
def test_when_it_begins(slot: Slot, config: ServerConfig, left: timedelta) -> None:
    """Nothing is said a second before; from then on it is."""
    begin = slot.issuer.not_after - left
    assert ending(slot, config, begin - timedelta(seconds=1)) is None
    found = ending(slot, config, begin)
    assert found is not None
    assert found.urgency == 0


@pytest.mark.parametrize(
    ("config", "slot", "detail"),
    [
        (FILES, MONTH, "the intermediate ended at 2026-01-31T00:00:00+00:00: put a new intermediate into /ca"),
        (OWN, MONTH, "the intermediate ended at 2026-01-31T00:00:00+00:00: it could not be renewed; mend what"),
        (FILES, slot_of(9 * DAY, make_ca("old", end=NOW + 8 * DAY)), "put a new root and an intermediate below"),
        (
            OWN,
            slot_of(9 * DAY, make_ca("old", end=NOW + 8 * DAY)),
            "begin to replace it with `meshca root",
        ),
        (SECRET, MONTH, "put a new intermediate into the Secret, or mend what signer.refused"),
        (
            SECRET,
            slot_of(9 * DAY, make_ca("old", end=NOW + 8 * DAY)),
            "below it into the Secret, or begin with `meshca root",
        ),
    ],
    ids=["files", "self-signed", "root of files", "root of self-signed", "secret", "root of secret"],
)
def test_says_what_to_do(config: ServerConfig, slot: Slot, detail: str) -> None:
    """The warning names what ends and when, and what to do about it."""
    found = ending(slot, config, NOW + 31 * DAY)
    assert found is not None
    assert detail in found.detail


@given(st.timedeltas(timedelta(0), 31 * DAY), st.timedeltas(timedelta(0), 31 * DAY))
def test_urgency_only_grows(one: timedelta, other: timedelta) -> None:
    """Later is never less urgent, up to the end and after it."""
    urgencies = [
        found.urgency if (found := ending(MONTH, FILES, NOW + after)) else -1 for after in sorted((one, other))
    ]
    assert urgencies == sorted(urgencies)


class Rig:
    """A watch over a signer of thirty days."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rotation = FakeRotation()
        loaded = Loaded(
            config=FILES, admission=UseAdmission(text="", source=""), policies=Policies(news=UsePolicies(files={}))
        )
        self.watch = EndWatch(cast("Rotation", self.rotation), InForce(loaded, {}), self.clock)


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


async def test_gone_with_a_newer_signer(rig: Rig) -> None:
    """Once a newer signer is in force nothing is wrong any more."""
    with captured_logs():
        rig.clock.move((29 * DAY).total_seconds())
        await rig.clock.advance(10)
        assert "put a new intermediate into /ca" in rig.watch.warning
        rig.rotation.progress = Progress(slot=YEARS)
        await rig.clock.advance(10)
    assert rig.watch.warning == ""
