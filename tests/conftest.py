"""Suites with real parts: left out with one line when the part is missing, an error when it is required.

`MESHCA_REQUIRE` names the parts that must be there, separated by commas (continuous integration names all).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.workermanage import WorkerController

from meshca.keystore.token_uri import Token
from tests.real.envoy import find_envoy
from tests.real.mounts import find_mounts
from tests.real.openbao import OpenBao, find_openbao, running_openbao
from tests.real.postgresql import Cluster, find_postgresql, running_cluster
from tests.real.softhsm import find_softhsm, running_softhsm
from tests.real.unprivileged import find_unprivileged

# No test is timed: a busy machine must not turn a law into a failure.
settings.register_profile("meshca", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshca")


def find_kubernetes() -> str | None:
    """The cluster to test against: `make test-kube` sets it."""
    return os.environ.get("MESHCA_TEST_KUBECONFIG")


HERE = Path(__file__).parent
PARTS: dict[str, Callable[[], object | None]] = {
    "envoy": find_envoy,
    "kubernetes": find_kubernetes,
    "mounts": find_mounts,
    "openbao": find_openbao,
    "postgresql": find_postgresql,
    "softhsm": find_softhsm,
    "unprivileged": find_unprivileged,
}
# Folders whose files take long and mostly wait: begun first, so that the short ones fill what they leave.
LONG = ("docs", "e2e", "real", "bench")
SHOWN = 4_000  # characters of a failure that are shown at once
MISSING = pytest.StashKey[dict[str, int]]()


def required() -> set[str]:
    """The parts that MESHCA_REQUIRE names."""
    return {name.strip() for name in os.environ.get("MESHCA_REQUIRE", "").split(",") if name.strip()}


def pytest_configure(config: pytest.Config) -> None:
    """Refuse names in MESHCA_REQUIRE that no suite knows, or that this machine does not have."""
    config.stash[MISSING] = {}
    if unknown := required() - PARTS.keys():
        message = f"MESHCA_REQUIRE names {', '.join(sorted(unknown))}; known are {', '.join(sorted(PARTS))}"
        raise pytest.UsageError(message)
    if wanted := missing() & required():
        message = f"MESHCA_REQUIRE names {', '.join(sorted(wanted))}, which this machine does not have"
        raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of this run; for tests marked `real("postgresql")`."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """An OpenBao of this run; for tests marked `real("openbao")`."""
    with running_openbao() as server:
        yield server


@pytest.fixture(scope="session")
def softhsm() -> Iterator[Token]:
    """A PKCS#11 token of this run; for tests marked `real("softhsm")`."""
    with running_softhsm() as token:
        yield token


@pytest.fixture(scope="session")
def find_part(request: pytest.FixtureRequest) -> Callable[[str], object]:
    """Gives a real part of this run by its name, started when first asked for."""
    return request.getfixturevalue


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Show a failure at once: a run that is cut off has no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stdout.write(f"\n--- {report.nodeid} failed in {report.when}\n{report.longreprtext[-SHOWN:]}\n---\n")
        sys.stdout.flush()


@functools.cache
def missing() -> frozenset[str]:
    """The parts that this machine does not have."""
    return frozenset(name for name, find in PARTS.items() if find() is None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests whose part is missing, and count them; those that take long come first."""
    kept = []
    for item in items:
        lacking = {str(mark.args[0]) for mark in item.iter_markers("real")} & missing()
        for part in lacking:
            config.stash[MISSING][part] = config.stash[MISSING].get(part, 0) + 1
        if not lacking:
            kept.append(item)
    items[:] = sorted(kept, key=_place)


def _place(item: pytest.Item) -> int:
    return next((place for place, name in enumerate(LONG) if HERE / name in item.path.parents), len(LONG))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells its controller what it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = session.config.stash[MISSING]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Every worker collects the same tests, so each tells the same."""
    node.config.stash[MISSING].update(getattr(node, "workeroutput", {}).get("missing", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each part that is missing."""
    for part, count in sorted(config.stash[MISSING].items()):
        terminalreporter.write_line(f"left out: {count} tests need {part}, which this machine does not have")
