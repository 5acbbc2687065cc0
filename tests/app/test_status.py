"""Facts about what the server tells its administrator of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.ending import EndWatch
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.app.place import WorkerState
from meshca.app.ports import Address
from meshca.app.status import Status
from meshca.app.supervisor import Supervisor
from meshca.authn.cluster import ClusterState
from meshca.authority.adoption import AdoptionStore
from meshca.authority.slot import Slot
from meshca.authz.parse import ParsedFiles, parse_changed
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError, Unavailable
from meshca.rotation.driver import Rotation
from meshca.rotation.progress import Progress
from meshca.rotation.report import RootReport
from meshca.rpc.status_report import ClusterReport, StatusReport, UpstreamReport
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.adoption import RecordedAdoptions
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, TRUST_DOMAIN, good_material, make_ca
from tests.fakes.rotation_rig import standing_of

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: shop}
spec: {rules: [{}]}
"""
PARSED = parse_changed({"a.yaml": POLICY}, "istio-system", ParsedFiles())
SERVING = make_ca("serving")
CLUSTERS = (
    ClusterState(name="home"),
    ClusterState(name="west", secret="s"),
    ClusterState(name="home", secret="s", followed=False, problem="not its name"),
)


class FakeSupervisor:
    """Two workers, one of which is not well."""

    async def states(self) -> Sequence[WorkerState]:
        """As they are."""
        well = WorkerState(
            name="w0", pid=1, ready=True, detail="", restarts=0, serving=SERVING.pem, clusters=CLUSTERS
        )
        ill = [replace(CLUSTERS[0], problem="gone"), *CLUSTERS[1:]]
        return [well, WorkerState(name="w1", pid=2, ready=False, detail="starting", restarts=3, clusters=ill)]


class FakeRotation:
    """A rotation that has published, or failed."""

    reached_at: datetime | None = None
    leaf_problem: Unavailable | None = None

    def __init__(self) -> None:
        self.progress = Progress()


class Down:
    """An adoption store that cannot be read."""

    async def list(self) -> Sequence[Any]:
        """Fails."""
        raise Unavailable("store", "the disk is gone")


async def no_report() -> RootReport:
    """Nobody looks."""
    raise Unavailable("store", "the disk is gone")


class Rig:
    """A status over fakes."""

    def __init__(self, adoptions: object | None = None, config: ServerConfig | None = None) -> None:
        loaded = Loaded(
            config=config or ServerConfig(),
            admission=UseAdmission(text="", source=""),
            policies=Policies(news=UsePolicies(files={"a.yaml": POLICY}), parsed=PARSED, version="v7"),
        )
        self.material = good_material()
        self.in_force = InForce(
            loaded, {"token": Address(host="::1", port=1), "mtls": Address(host="::1", port=2)}
        )
        self.rotation = FakeRotation()
        self.end_watch = EndWatch(cast("Rotation", self.rotation), self.in_force, no_report, FakeClock())
        self.status = Status(
            in_force=self.in_force,
            supervisor=cast("Supervisor", FakeSupervisor()),
            rotation=cast("Rotation", self.rotation),
            end_watch=self.end_watch,
            adoptions=cast("AdoptionStore", adoptions or RecordedAdoptions()),
            started_at=NOW,
            clock=FakeClock(),
        )

    async def report(self) -> StatusReport:
        """With material in force."""
        self.in_force.use_standing(standing_of(self.material))
        self.rotation.progress = Progress(slot=Slot.prove(self.material, TRUST_DOMAIN, NOW))
        return await self.status.report()


async def test_certificates() -> None:
    """Root first, then what signs below it, then each worker's own; a worker that has none is left out."""
    report = await Rig().report()
    assert [certificate.kind for certificate in report.certificates] == ["root", "intermediate", "serving"]
    serving = report.certificates[-1]
    assert serving.serial == f"{SERVING.certificate.serial_number:x}"
    assert len(serving.sha256) == 64


async def test_workers_and_policies() -> None:
    """Workers as they are, policies as they are in force."""
    report = await Rig().report()
    assert [(worker.name, worker.ready, worker.restarts) for worker in report.workers] == [
        ("w0", True, 0),
        ("w1", False, 3),
    ]
    assert (report.policies.version, report.policies.count, report.policies.error) == ("v7", 1, "")
    assert report.trust_domain == "cluster.local"
    assert report.started_at == NOW


@pytest.mark.parametrize(
    ("kubernetes", "expected"),
    [
        (None, None),
        ({}, ("home", "review", 10)),
        ({"name": "west", "token_review": {"mode": "local", "cache": "2s"}}, ("west", "local", 2)),
        ({"token_review": {"mode": "pods"}}, ("home", "pods", 0)),
        ({"token_review": {"enabled": False}}, None),
    ],
    ids=["no cluster", "defaults", "local", "pods", "off"],
)
async def test_how_tokens_are_proven(kubernetes: Any, expected: Any) -> None:
    """Mode, and how long a revoked token may still be believed; nothing when no token is reviewed."""
    config = ServerConfig.model_validate({"kubernetes": kubernetes})
    found = (await Rig(config=config).report()).token_review
    shown = (found.cluster, found.mode, found.cache.total_seconds()) if found else None
    assert shown == expected


async def test_before_the_first_signer() -> None:
    """Before anything signs there is no root to show."""
    report = await Rig().status.report()
    assert [certificate.kind for certificate in report.certificates] == ["serving"]
    assert report.roots_version == ""


@pytest.mark.parametrize("what", ["admission", "config", "policies"])
async def test_refused_changes_are_shown(what: str) -> None:
    """Why the newest of each is not in force is shown beside it."""
    rig = Rig()
    with captured_logs(), rig.in_force.changing(what):
        _spoil()
    report = await rig.report()
    shown = {
        "admission": report.admission_error,
        "config": report.config_error,
        "policies": report.policies.error,
    }
    assert {name: bool(error) for name, error in shown.items()} == {name: name == what for name in shown}


def _spoil() -> None:
    raise ConfigError("file", ["a problem"])


async def test_failed_rotation_is_shown() -> None:
    """Why the upstream's newest material is not in force is shown."""
    rig = Rig()
    rig.rotation.progress = Progress(error=ConfigError("roots", ["differ"]))
    assert (await rig.status.report()).authority_error == "roots: differ"


async def test_how_long_it_can_do_without_whoever_signs() -> None:
    """Until the first certificate of the chain ends, roots included; nothing before anything signs."""
    rig = Rig()
    assert (await rig.status.report()).upstream == UpstreamReport(kind="self_signed", autonomy=timedelta(0))
    found = (await rig.report()).upstream
    slot = rig.rotation.progress.slot
    assert slot is not None
    assert found.autonomy == min(one.not_valid_after_utc for one in slot.path) - NOW


async def test_vault_that_is_sealed() -> None:
    """When it was seen last, which row of the table of faults it is, and what mends it."""
    rig = Rig()
    rig.rotation.reached_at = NOW
    rig.rotation.progress = Progress(error=failure(Fault.SEALED))
    found = (await rig.status.report()).upstream
    assert (found.reached_at, found.fault, found.remedy) == (NOW, "sealed", "unseal it")


async def test_vault_that_signs_no_leaves() -> None:
    """Though its mount is seen well, why is shown, and what mends it."""
    rig = Rig()
    rig.rotation.leaf_problem = failure(Fault.ROLE)
    found = (await rig.status.report()).upstream
    assert (found.fault, found.remedy) == ("role", TABLE[Fault.ROLE].remedy)
    assert found.leaf_error == failure(Fault.ROLE).detail


async def test_end_that_is_near_is_shown() -> None:
    """What signs and ends soon is shown, with what to do."""
    rig = Rig()
    rig.end_watch.warning = "the intermediate ends: put a new one there"
    assert (await rig.report()).ending_warning == "the intermediate ends: put a new one there"


async def test_store_that_cannot_be_read() -> None:
    """A store that is down is an error in the report, not of the report."""
    report = await Rig(Down()).report()
    assert (report.agents, report.store_error) == ((), "the disk is gone")


async def test_clusters() -> None:
    """Each once, as the worker sees it that has most to complain of."""
    report = await Rig().report()
    assert report.clusters == (
        ClusterReport(name="home", secret="", state="failing", problem="gone"),
        ClusterReport(name="west", secret="s", state="good", problem=""),
        ClusterReport(name="home", secret="s", state="refused", problem="not its name"),
    )
