"""Tests of `meshca doctor`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshca.app.doctor import Order
from meshca.cli.doctor import app, line
from meshca.doctor.address import Address
from meshca.doctor.finding import Finding, Verdict
from meshca.doctor.mesh import Place

OK = Finding(name="api-server", verdict=Verdict.OK, found="v1.37.2")
WRONG = Finding(name="endpoint", verdict=Verdict.WRONG, found="bad \x1b[2J name", mend=("do this", "or that"))
UNKNOWN = Finding(name="ztunnel", verdict=Verdict.UNKNOWN, found="not seen", mend=("look there",))


class Doctor:
    """Finds what a test says; keeps what it was asked."""

    def __init__(self) -> None:
        self.findings = [OK]
        self.orders: list[Order] = []

    async def __call__(self, order: Order) -> AsyncIterator[Finding]:
        """Each."""
        self.orders.append(order)
        for finding in self.findings:
            yield finding


class RootDoctor:
    """As `Doctor`, for the roots of a server."""

    def __init__(self) -> None:
        self.findings = [OK]
        self.asked: list[tuple[Path, float]] = []

    async def __call__(self, socket: Path, seconds: float) -> AsyncIterator[Finding]:
        """Each."""
        self.asked.append((socket, seconds))
        for finding in self.findings:
            yield finding


@pytest.fixture
def root_doctor(monkeypatch: pytest.MonkeyPatch) -> RootDoctor:
    """One that finds nothing."""
    fake = RootDoctor()
    monkeypatch.setattr("meshca.app.doctor.root_findings", fake)
    return fake


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """One that finds nothing."""
    fake = Doctor()
    monkeypatch.setattr("meshca.app.doctor.findings", fake)
    return fake


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, ["istio", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_well(doctor: Doctor) -> None:
    """A line for each, and how many."""
    assert run() == (0, "ok       api-server          v1.37.2\n1 ok, 0 wrong, 0 unknown\n", "")


def test_wrong(doctor: Doctor) -> None:
    """What mends it below, nothing that a terminal would obey, and exit code 1."""
    doctor.findings = [OK, WRONG, UNKNOWN]
    code, out, _ = run()
    assert code == 1
    assert out.splitlines()[1:] == [
        "wrong    endpoint            bad \\x1b[2J name",
        "         -> do this",
        "         -> or that",
        "unknown  ztunnel             not seen",
        "         -> look there",
        "1 ok, 1 wrong, 1 unknown",
    ]


def test_unknown_is_not_wrong(doctor: Doctor) -> None:
    """Exit code 0."""
    doctor.findings = [UNKNOWN]
    assert run()[0] == 0


def test_json(doctor: Doctor) -> None:
    """One document."""
    doctor.findings = [OK, UNKNOWN]
    code, out, _ = run("-o", "json")
    assert code == 0
    assert json.loads(out) == {
        "findings": [
            {"name": "api-server", "verdict": "ok", "found": "v1.37.2", "mend": []},
            {"name": "ztunnel", "verdict": "unknown", "found": "not seen", "mend": ["look there"]},
        ],
        "ok": 1,
        "wrong": 0,
        "unknown": 1,
    }


def test_flags(doctor: Doctor) -> None:
    """Each reaches the checks; ztunnel is beside istiod unless it is said."""
    run()
    run(
        *("--config", "meshca.yaml", "--istio-namespace", "istio", "--revision", "canary"),
        *("--ztunnel-namespace", "kube-system", "--ca-address", "ca:1", "--endpoint", "127.0.0.1:2"),
        *("--timeout", "3s"),
    )
    assert doctor.orders == [
        Order(config=None, place=Place(), ca_address=None, endpoint=None, seconds=10),
        Order(
            config=Path("meshca.yaml"),
            place=Place(namespace="istio", revision="canary", ztunnel="kube-system"),
            ca_address=Address(host="ca", port=1),
            endpoint=Address(host="127.0.0.1", port=2),
            seconds=3,
        ),
    ]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--ca-address", "nothing"), ("--endpoint", "nothing"), ("--timeout", "5"), ("--timeout", "1d")],
)
def test_bad_flag(doctor: Doctor, flag: str, value: str) -> None:
    """Is named, before anything is asked."""
    code, _, err = run(flag, value)
    assert (code, err.splitlines()[0]) == (2, f"error: {flag}:")
    assert doctor.orders == []


def test_colour() -> None:
    """Of the verdict only, and only where it is wished."""
    assert line(OK, coloured=True) == "\x1b[32mok     \x1b[0m  api-server          v1.37.2"
    assert line(OK, coloured=False) == "ok       api-server          v1.37.2"


class TestRoots:
    """`doctor roots`."""

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and standard output."""
        result = CliRunner().invoke(app, ["roots", *arguments])
        return result.exit_code, result.stdout

    def test_well(self, root_doctor: RootDoctor) -> None:
        """The server is asked on the socket that is named; no cluster is needed."""
        code, out = self.run("--socket", "/run/admin.sock", "--timeout", "3s")
        assert (code, out) == (0, "ok       api-server          v1.37.2\n1 ok, 0 wrong, 0 unknown\n")
        assert root_doctor.asked == [(Path("/run/admin.sock"), 3.0)]

    def test_wrong(self, root_doctor: RootDoctor) -> None:
        """Exit code 1, for whoever watches."""
        root_doctor.findings = [WRONG]
        code, out = self.run("--socket", "/run/admin.sock", "--output", "json")
        assert (code, json.loads(out)["wrong"]) == (1, 1)

    def test_bad_timeout(self, root_doctor: RootDoctor) -> None:
        """Refused before anything is asked."""
        assert self.run("--socket", "/run/admin.sock", "--timeout", "soon")[0] == 2
        assert root_doctor.asked == []
