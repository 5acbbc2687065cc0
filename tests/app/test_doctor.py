"""The doctor's way to a CA, and what it needs of a configuration."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.app.doctor import MORE, UPSTREAM, VAULT_CHECK, AgentCa, Order, SocketRoots, findings, root_findings
from meshca.clock import SystemClock
from meshca.doctor.address import Address
from meshca.doctor.istio import CHECKS, ROOT_CHECKS
from meshca.doctor.mesh import Place
from meshca.doctor.site import Issued, Wish
from meshca.doctor.vault_checks import CHECKS as VAULT_CHECKS
from meshca.errors import ConfigError, Denied, MeshcaError, Unauthenticated, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.rpc.status_report import StatusReport, UpstreamReport
from meshca.secret import Secret
from tests.fakes.admin_server import admin_server
from tests.fakes.ca import OWN, FakeCa, Mood, ServingCa, serving_ca
from tests.fakes.pki import DAY
from tests.fakes.reports import report
from tests.fakes.root_commands import FakeRootCommands

WEB = ServiceAccount(namespace="shop", name="web")


@pytest.fixture
async def serving() -> AsyncIterator[ServingCa]:
    """A CA on loopback."""
    async with serving_ca(FakeCa(SystemClock())) as up:
        yield up


async def issued(serving: ServingCa, account: ServiceAccount = WEB) -> Issued:
    """What it answers to the doctor."""
    endpoint = Address(host=serving.token.host, port=serving.token.port)
    wish = Wish(
        endpoint=endpoint,
        server_name="localhost",
        roots=serving.ca.root.pem,
        account=account,
        token=Secret("a.b.c"),
    )
    return await AgentCa(SystemClock(), 10).issue(wish)


async def test_issued(serving: ServingCa) -> None:
    """Identity and roots of the answer."""
    found = await issued(serving)
    assert (found.identity, found.roots) == (OWN, serving.ca.root.pem)


async def test_nothing_is_left_behind(serving: ServingCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token was in a file, which is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await issued(serving)
    assert not any(os.scandir(tmp_path))


@pytest.mark.parametrize(
    ("mood", "kind"),
    [
        (Mood.REFUSE, Unauthenticated),
        (Mood.DENY, Denied),
        (Mood.DOWN, Unavailable),
        (Mood.FOREIGN_ROOT, Unavailable),
    ],
)
async def test_refused(serving: ServingCa, mood: Mood, kind: type[MeshcaError]) -> None:
    """Each as the agent says it."""
    serving.ca.mood = mood
    with pytest.raises(kind):
        await issued(serving)


async def test_another_identity(serving: ServingCa) -> None:
    """Than the token's is no good answer."""
    with pytest.raises(Unavailable, match="expected service account shop/other"):
        await issued(serving, ServiceAccount(namespace="shop", name="other"))


def order(folder: Path, text: str) -> Order:
    """For a configuration."""
    (folder / "meshca.yaml").write_text(text)
    return Order(config=folder / "meshca.yaml", place=Place(), ca_address=None, endpoint=None, seconds=5)


async def test_no_cluster(tmp_path: Path) -> None:
    """There is nothing to look at."""
    with pytest.raises(ConfigError, match="needs the section kubernetes"):
        _ = [one async for one in findings(order(tmp_path, "{}"), {})]


KUBECONFIG = """
    clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
    users: [{name: a, user: {token: x}}]
    contexts: [{name: a, context: {cluster: a, user: a, namespace: meshca}}]
    current-context: a
"""


async def test_dead_cluster(tmp_path: Path) -> None:
    """Every check is asked all the same."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    config = (
        "{serving: {names: [127.0.0.1]}, listen: {token: '127.0.0.1:1'}, kubernetes: {kubeconfig: kubeconfig}}"
    )
    found = {one.name: one.verdict.value async for one in findings(order(tmp_path, config), {})}
    wrong = {"api-server": "wrong", "endpoint": "wrong"}
    assert found == dict.fromkeys(CHECKS, "unknown") | wrong


async def test_a_vault(tmp_path: Path) -> None:
    """Where one signs for us it is looked at too; nothing is signed."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    login = "{token: {file: /none}}"
    upstream = f"{{kind: vault, address: 'https://127.0.0.1:1', login: {login}, roots: {{accept: any}}}}"
    config = f"{{kubernetes: {{kubeconfig: kubeconfig}}, upstream: {upstream}}}"
    names = [one.name async for one in findings(order(tmp_path, config), {})]
    assert names == [*CHECKS, *VAULT_CHECKS]


async def test_roots_of_no_server(tmp_path: Path) -> None:
    """Nobody listens: each check of the roots is unknown, and says where to ask."""
    found = [one async for one in root_findings(tmp_path / "admin.sock", 5)]
    checks = [*ROOT_CHECKS, UPSTREAM]
    assert [(one.name, one.verdict.value) for one in found] == [(name, "unknown") for name in checks]
    assert all(f"there is no socket at {tmp_path}/admin.sock" in one.found for one in found)


async def test_roots_of_a_server() -> None:
    """Asked on its socket."""
    commands = FakeRootCommands(SystemClock())
    async with admin_server(roots=commands) as socket:
        found = {one.name: one async for one in root_findings(socket, 5)}
        assert await SocketRoots(socket).records() == list(commands.state.records)
    checks = [*ROOT_CHECKS, UPSTREAM]
    assert {name: one.verdict.value for name, one in found.items()} == dict.fromkeys(checks, "ok")
    assert found["root-rotation"].found == "no root is being replaced"
    assert found[UPSTREAM].found == "self_signed"


@pytest.mark.parametrize(
    ("fault", "remedy", "leaf", "expected"),
    [
        ("", "", "", ("ok", f"vault; {VAULT_CHECK} looks at it", ())),
        ("sealed", "unseal it", "", ("wrong", "vault: sealed", ("unseal it", MORE))),
        ("role", "make it", "no role; make it", ("wrong", "vault: role, no role", ("make it", MORE))),
        ("", "", "no role", ("wrong", "vault: no role", (MORE,))),
    ],
    ids=["well", "sealed", "no role", "no fault of Vault's"],
)
async def test_roots_below_a_vault(
    fault: str, remedy: str, leaf: str, expected: tuple[str, str, tuple[str, ...]]
) -> None:
    """What the server knows of it is told, and where the checks of it are."""

    async def status() -> StatusReport:
        told = UpstreamReport(kind="vault", autonomy=DAY, fault=fault, remedy=remedy, leaf_error=leaf)
        return report(upstream=told)

    async with admin_server(status=status) as socket:
        [found] = [one async for one in root_findings(socket, 5) if one.name == UPSTREAM]
    assert (found.verdict.value, found.found, found.mend) == expected
