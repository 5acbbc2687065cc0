"""Facts about what the parent does when it is told to reload."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from meshca.app import loading
from meshca.app.control import Configure, Message, UseAdmission, UsePolicies
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.app.parent import Parent
from meshca.app.ports import Address
from meshca.config.server import ServerConfig, SvidConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from tests.fakes.house import House, settle
from tests.fakes.pki import good_material
from tests.fakes.rotation_rig import standing_of

ADDRESSES = {"token": Address(host="127.0.0.1", port=1), "mtls": Address(host="127.0.0.1", port=2)}


def loaded(config: ServerConfig, policies: str = "") -> Loaded:
    """A configuration with its files."""
    return Loaded(
        config=config,
        admission=UseAdmission(text="rules", source="file"),
        policies=Policies(news=UsePolicies(files={"a": policies})),
    )


OLD = loaded(ServerConfig())
NEW = loaded(ServerConfig(svid=SvidConfig(default_lifetime=timedelta(hours=1))), "new")


class Rig:
    """A parent of fake workers, told what the real briefing says."""

    def __init__(self) -> None:
        self.house = House()
        self.in_force = InForce(OLD, ADDRESSES)
        self.in_force.use_standing(standing_of(good_material()))
        self.house.supervisor._briefing = self.in_force.briefing
        self.next = NEW
        self.taken: list[Loaded] = []
        self.parent = Parent(
            load=self.load,
            in_force=self.in_force,
            supervisor=self.house.supervisor,
            clock=self.house.clock,
            taken=self.taken.append,
        )

    def load(self) -> Loaded:
        """What the files say now."""
        return self.next


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A parent of two workers that serve."""
    made = Rig()
    await made.house.supervisor.start()
    yield made
    await made.house.supervisor.kill()


def lifetimes(told: list[Message]) -> list[timedelta]:
    """The default lifetimes that a worker was told of."""
    configs = [ServerConfig.model_validate_json(each.config) for each in told if isinstance(each, Configure)]
    return [config.svid.default_lifetime for config in configs]


async def test_good_one_is_in_force(rig: Rig) -> None:
    """After a reload fresh workers have the new configuration, and errors of before are forgotten."""
    rig.in_force.errors.update(policies="bad", config="bad")
    await rig.parent.reload_all()
    assert rig.in_force.loaded is NEW
    assert rig.in_force.errors == {}
    assert rig.taken == [NEW]
    assert [lifetimes(worker.told) for worker in rig.house.workers[2:]] == [[timedelta(hours=1)]] * 2


@pytest.mark.parametrize("fails_after", [2, 3], ids=["first", "second"])
async def test_no_process_to_be_had(rig: Rig, fails_after: int) -> None:
    """A reload for which no process can be had is refused and said; everything old is in force."""
    rig.house.fails_after = fails_after
    await rig.parent.reload_all()
    assert "cannot be started now" in rig.in_force.errors["config"]
    assert rig.taken == []
    assert rig.in_force.loaded is OLD
    assert [worker.ended.is_set() for worker in rig.house.workers[:2]] == [False, False]


async def test_needs_a_restart(rig: Rig) -> None:
    """A configuration that cannot change while the server runs is refused; no worker is started for it."""
    rig.next = loaded(ServerConfig(trust_domain=TrustDomain("other")))
    await rig.parent.reload_all()
    assert (rig.in_force.loaded, len(rig.house.workers)) == (OLD, 2)


async def test_crash_while_a_refused_one_is_tried(rig: Rig) -> None:
    """A worker that crashes while a new configuration is tried is restarted with the old one."""
    rig.house.serves = False
    reloading = asyncio.create_task(rig.parent.reload_all())
    while len(rig.house.workers) < 4:  # noqa: ASYNC110 - the files are read in a real thread
        await asyncio.sleep(0)
    rig.house.workers[0].end("exit code 1")
    await settle()
    await rig.house.clock.advance(1)
    restarted = rig.house.workers[4]
    rig.house.workers[2].end("exit code 1", "bad keys")
    await reloading
    assert lifetimes(restarted.told) == [timedelta(hours=24)]
    assert not restarted.ended.is_set()


async def test_unreadable(rig: Rig) -> None:
    """A configuration that cannot be read is refused."""

    def bad() -> Loaded:
        raise ConfigError("meshca.yaml", ["a problem"])

    rig.parent._load = bad
    await rig.parent.reload_all()
    told = "meshca.yaml: a problem (at 2026-01-01T00:00:00Z; once mended, send SIGHUP again)"
    assert rig.in_force.errors == {"config": told}


class Reading:
    """A reader of files that takes as long as the test wants, and gives what it has then."""

    def __init__(self, found: object) -> None:
        self.found = found
        self.configs: list[ServerConfig] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, config: ServerConfig, *_: object) -> object:
        """Read, when it may."""
        self.configs.append(config)
        self.begun.set()
        assert self.may_end.wait(30)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


POLICIES = Policies(news=UsePolicies(files={"a": "newer"}), version="v9")
RULES = UseAdmission(text="newer", source="file")


async def test_policies_hold_nobody_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large set is read, probes are answered and the rules, which are the brake, come into force."""
    reading = Reading(POLICIES)
    monkeypatch.setattr(loading, "read_policies", reading)
    monkeypatch.setattr(loading, "read_admission", lambda _: RULES)
    task = asyncio.create_task(rig.parent.reload_policies())
    await asyncio.to_thread(reading.begun.wait)
    assert (await rig.parent.readiness()).ready
    await rig.parent.reload_admission()
    assert (rig.in_force.loaded.admission, rig.in_force.loaded.policies) == (RULES, OLD.policies)
    reading.may_end.set()
    await task
    assert rig.in_force.loaded.policies is POLICIES
    assert [worker.told[-2:] for worker in rig.house.workers] == [[RULES, POLICIES.news]] * 2


@pytest.mark.parametrize("found", [POLICIES, ConfigError("a", ["a problem"])], ids=["good", "bad"])
async def test_read_by_a_configuration_that_is_gone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    """Files that were read while another configuration came into force are read again by that one."""
    reading = Reading(found)
    monkeypatch.setattr(loading, "read_policies", reading)
    task = asyncio.create_task(rig.parent.reload_policies())
    await asyncio.to_thread(reading.begun.wait)
    await rig.parent.reload_all()
    reading.may_end.set()
    await task
    assert reading.configs == [OLD.config, NEW.config]
    assert rig.in_force.errors == ({} if found is POLICIES else {"policies": "a: a problem"})
