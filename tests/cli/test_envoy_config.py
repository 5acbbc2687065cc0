"""Tests of `meshca envoy-config`."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from meshca.cli.envoy_config import command
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AdminPort, AdminSocket, AgentSocket, DirectFromCa, Inbound, ReadyPage
from tests.sidecar.services import OUTBOUND, service

app = typer.Typer()
app.command()(command)
WEB = ("--namespace", "shop", "--service-account", "web")
IN = ("--inbound", "8443:8080")
OUT = ("--outbound", "9001=payments.shop:8443,spiffe://cluster.local/ns/shop/sa/payments")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, (*WEB, *arguments))
    return result.exit_code, result.stdout, result.stderr


def printed(*arguments: str) -> dict[str, Any]:
    """The bootstrap that is printed."""
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    found: dict[str, Any] = yaml.safe_load(out)
    return found


def expected(**changes: Any) -> dict[str, Any]:
    """The bootstrap of a service with the command's defaults."""
    defaults = {"source": AgentSocket(path=Path("/var/run/meshca/agent.sock")), "admin": AdminPort(port=15000)}
    return build(service(**(defaults | changes)))


def test_prints_what_the_flags_say() -> None:
    """Namespace, account and ports are all that a service needs."""
    assert printed(*IN, *OUT) == expected()


def test_json_is_the_same() -> None:
    """Both notations say the same."""
    code, out, _ = run(*IN, *OUT, "-o", "json")
    assert (code, json.loads(out)) == (0, expected())


def test_yaml_has_no_aliases() -> None:
    """Every place is written out, for readers and for tools that do not take aliases."""
    _, out, _ = run(*IN, *OUT)
    assert "&id" not in out


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        pytest.param(("--admin", "off"), {"admin": None}, id="no-admin"),
        pytest.param(("--admin", "unix:/a.sock"), {"admin": AdminSocket(path=Path("/a.sock"))}, id="admin-socket"),
        pytest.param(("--admin", "127.0.0.1:0"), {"admin": AdminPort(port=0)}, id="admin-port"),
        pytest.param(("--agent-socket", "/x"), {"source": AgentSocket(path=Path("/x"))}, id="agent-socket"),
        pytest.param(("--ready", "15022"), {"ready": ReadyPage(port=15022)}, id="ready-page"),
        pytest.param(("--no-access-log",), {"access_log": False}, id="no-access-log"),
        pytest.param(("--delta",), {"delta": True}, id="delta"),
        pytest.param(("--node-id", "pod-1"), {"node_id": "pod-1"}, id="node-id"),
        pytest.param(("--test-full-handshakes",), {"full_handshakes": True}, id="full-handshakes"),
        pytest.param(
            ("--ca", "ca.mesh:15012", "--ca-root", "/r", "--token-file", "/t", "--ca-server-name", "n"),
            {
                "source": DirectFromCa(
                    host="ca.mesh", port=15012, root_file=Path("/r"), token_file=Path("/t"), server_name="n"
                ),
                "node_id": f"{socket.gethostname()}.shop",
            },
            id="straight-from-the-ca",
        ),
        pytest.param(
            ("--listen-address", "::", "--health-path", "/h"),
            {"inbound": (Inbound(port=8443, app_port=8080, address="::", health_path="/h"),)},
            id="inbound-details",
        ),
    ],
)
def test_flags(flags: tuple[str, ...], changes: dict[str, Any]) -> None:
    """Each flag is its field of the service."""
    assert printed(*IN, *OUT, *flags) == expected(**changes)


@pytest.mark.parametrize(
    ("flags", "expected"), [((), "web-1.shop"), (("--node-id", "chosen"), "chosen")], ids=["unnamed", "named"]
)
def test_an_envoy_without_an_agent_is_called_as_its_pod(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], expected: str
) -> None:
    """Where the pod says its name; every pod of a Deployment has another."""
    monkeypatch.setenv("POD_NAME", "web-1")
    straight = ("--ca", "ca.mesh:15012", "--ca-root", "/r", "--token-file", "/t")
    assert printed(*IN, *straight, *flags)["node"]["id"] == expected


def test_several_ports_and_addresses() -> None:
    """Ports repeat; an address of version 6 stands in brackets."""
    built = printed(*IN, "--inbound", "8444:8081", "--outbound", f"9002=[::1]:8443,{OUTBOUND.identities[0]}")
    names = [item["name"] for item in built["static_resources"]["listeners"]]
    assert names == ["inbound-8443-8080", "inbound-8444-8081", "outbound-9002-::1-8443"]


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        pytest.param((), "name at least one inbound or outbound port", id="no-ports"),
        pytest.param((*IN, "--ready", "8443"), "inbound port 8443 is given twice", id="ready-twice"),
        pytest.param((*IN, "--ready", "99999"), "port of the ready page must be", id="ready-number"),
        pytest.param(("--inbound", "8443"), "--inbound:\n  - expected PORT:APP_PORT", id="inbound"),
        pytest.param(("--inbound", "99999:1"), "inbound port must be a number", id="inbound-number"),
        pytest.param(("--outbound", "9001"), "--outbound:\n  - expected PORT=HOST:PORT,SPIFFE-ID", id="outbound"),
        pytest.param(
            ("--outbound", "1=a:2"), "--outbound:\n  - expected PORT=HOST:PORT,SPIFFE-ID", id="no-identity"
        ),
        pytest.param(("--outbound", "1=a,spiffe://t/x"), "--outbound:\n  - expected HOST:PORT", id="no-port"),
        pytest.param(("--outbound", "1=a:2,web"), "--outbound:\n  - a SPIFFE ID must begin", id="not-an-identity"),
        pytest.param((*IN, "--admin", "0.0.0.0:1"), "--admin:\n  - expected a loopback port", id="admin"),
        pytest.param(
            (*IN, "--max-connection-age", "30"), "--max-connection-age:\n  - expected a duration", id="age"
        ),
        pytest.param((*IN, "--max-connection-age", "0s"), "connection age must be over 0s", id="no-age"),
        pytest.param((*IN, "--trust-domain", "X"), "--trust-domain, --namespace", id="trust-domain"),
        pytest.param((*IN, "--ca", "x:1"), "--ca:\n  - give --ca-root and --token-file", id="ca-alone"),
        pytest.param(
            (*IN, "--ca", "x", "--ca-root", "/r", "--token-file", "/t"),
            "--ca:\n  - expected HOST:PORT",
            id="ca-port",
        ),
        pytest.param((*IN, "--ca-root", "/r"), "these go with --ca", id="root-without-ca"),
    ],
)
def test_wrong_flags(flags: tuple[str, ...], error: str) -> None:
    """Exit 2, nothing printed, and the flag is named with what was expected."""
    code, out, err = run(*flags)
    assert (code, out, error in err) == (2, "", True)
