"""A root that is no good is refused before anything changes, in words that an operator understands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.app.admin_client import AdminClient, connect
from meshca.rpc.status_report import StatusReport
from tests.fakes.cacerts import Projected, cacerts
from tests.fakes.pki import DAY, NARROW, Ca, make_ca, rsa_key
from tests.real.dev_server import Server, running_server, wait_for

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
END = BEGIN + 30 * DAY
NO_CA = x509.BasicConstraints(ca=False, path_length=None)
HUGE = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\4\0" + bytes(740_000)
)  # fits in a file

ROOT = make_ca("root", begin=BEGIN, end=END)
SIGNER = make_ca("signer", ROOT, begin=BEGIN, end=END)
GOOD = cacerts(SIGNER, roots=(ROOT,))


def beside(root: Ca) -> Mapping[str, str]:
    """The good signer, with one root more."""
    return cacerts(SIGNER, roots=(ROOT, root))


def below(root: Ca) -> Mapping[str, str]:
    """A signer below another root, with both roots."""
    return cacerts(make_ca("new signer", root, begin=BEGIN, end=END), roots=(ROOT, root))


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Projected:
    """A mounted Secret with a good CA."""
    made = Projected(tmp_path_factory.mktemp("volume") / "cacerts")
    made.swap(GOOD)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, volume: Projected) -> Iterator[Server]:
    """A server that signs by it."""
    settings = {"MESHCA__WORKERS": "1", "MESHCA__UPSTREAM": f"{{kind: files, dir: {volume.folder}}}"}
    with running_server(tmp_path_factory.mktemp("server") / "ca", settings=settings) as running:
        yield running


def status(server: Server) -> StatusReport:
    """How the server is."""

    async def asked() -> StatusReport:
        async with connect(Path(server.endpoint("endpoint-admin"))) as client:
            return await client.status()

    return asyncio.run(asked())


def kept(server: Server) -> tuple[object, ...]:
    """What is kept of roots: each, what was done, and the bundle in force."""

    async def asked() -> tuple[object, ...]:
        async with connect(Path(server.endpoint("endpoint-admin"))) as client:
            return await _kept(client)

    return asyncio.run(asked())


async def _kept(client: AdminClient) -> tuple[object, ...]:
    report = await client.roots.report()
    return await client.roots.records(), await client.roots.changes(), report.sequence, report.bundle_version


BAD = {
    "expired": (below(make_ca("expired", begin=BEGIN - DAY, end=BEGIN)), "expired at"),
    "not a ca": (beside(make_ca("no ca", begin=BEGIN, end=END, constraints=NO_CA)), "CA"),
    "weak": (beside(make_ca("weak", begin=BEGIN, end=END, key=rsa_key(1024))), "too weak"),
    "subject in use": (beside(make_ca("root", begin=BEGIN, end=END)), "its subject is in use by another root"),
    "no trial leaf": (below(make_ca("narrow", begin=BEGIN, end=END, extra=(NARROW,))), "trial"),
    "too large": (beside(make_ca("huge", begin=BEGIN, end=END, extra=(HUGE,))), "1000000 are the most"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(server: Server, volume: Projected, name: str) -> None:
    """The status names the fault; nothing of what is kept or given out differs; the good files end it."""
    files, words = BAD[name]
    wait_for(lambda: not status(server).authority_error)
    before = kept(server)
    volume.swap(files)
    wait_for(lambda: status(server).authority_error)
    assert words in status(server).authority_error
    assert kept(server) == before
    volume.swap(GOOD)
    wait_for(lambda: not status(server).authority_error)
    assert kept(server) == before
