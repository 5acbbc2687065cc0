"""Tests of `meshca inject`."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from meshca.cli.inject import ENVOY_IMAGE, command
from meshca.sidecar.inject_settings import INBOUND
from tests.sidecar.manifests import deployment

app = typer.Typer()
app.command()(command)
TEXT = "# the shop\n" + yaml.safe_dump(deployment(), sort_keys=False)
OTHER = "a:   1\n"


def run(*arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments, input=given)
    return result.exit_code, result.stdout, result.stderr


def sidecars(*flags: str, text: str = TEXT) -> tuple[dict[str, Any], dict[str, Any]]:
    """Agent and Envoy."""
    code, out, err = run(*flags, given=text)
    assert code == 0, err
    spec = yaml.safe_load(out)["spec"]["template"]["spec"]
    found = {each["name"]: each for key in ("initContainers", "containers") for each in spec.get(key, [])}
    return found["meshca-agent"], found["meshca-envoy"]


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input(arguments: tuple[str, ...]) -> None:
    """Manifests go to standard output, what was done to standard error."""
    code, out, err = run(*arguments, given=TEXT)
    assert (code, err) == (0, "Deployment shop/web: injected\n")
    assert out.startswith("# the shop\n")
    assert "meshca-agent" in out


def test_twice_is_once() -> None:
    """And says so."""
    _, once, _ = run(given=TEXT)
    assert run(given=once) == (0, once, "Deployment shop/web: unchanged\n")
    assert run("--quiet", given=once) == (0, once, "")


def test_files(tmp_path: Path) -> None:
    """Several become one stream; each byte of what is not injected stays."""
    (tmp_path / "a.yaml").write_text(OTHER)
    (tmp_path / "b.yaml").write_text(TEXT)
    code, out, _ = run(str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "-", given=OTHER)
    assert code == 0
    assert out.startswith(f"{OTHER}---\n# the shop\n")
    assert out.endswith(f"\n---\n{OTHER}")


def test_in_place(tmp_path: Path) -> None:
    """A file may be written over."""
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    assert run(str(file), "--output", str(file)) == (0, "", "Deployment shop/web: injected\n")
    assert file.read_text() == run(given=TEXT)[1]


def test_line_breaks_stay(tmp_path: Path) -> None:
    """Python translates nothing on the way."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: 1\r\n")
    run(str(file), "-o", str(tmp_path / "b.yaml"))
    assert (tmp_path / "b.yaml").read_bytes() == b"a: 1\r\n"


def test_json() -> None:
    """Stays JSON."""
    _, out, _ = run(given=json.dumps(deployment()))
    assert json.loads(out)["kind"] == "Deployment"


def test_defaults() -> None:
    """Those of the chart."""
    agent, envoy = sidecars()
    assert (agent["image"], envoy["image"]) == (f"meshca:{version('meshca')}", ENVOY_IMAGE)
    assert {
        "--endpoint=meshca.meshca-system.svc:15012",
        "--endpoint-mtls=meshca.meshca-system.svc:15013",
        "--trust-domain=cluster.local",
    } <= set(agent["args"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--endpoint", "ca:1"), ["--endpoint=ca:1"]),
        (("--endpoint-mtls", "ca:2"), ["--endpoint-mtls=ca:2"]),
        (("--server-name", "ca.mesh"), ["--server-name=ca.mesh"]),
        (("--trust-domain", "example.org"), ["--trust-domain=example.org", "spiffe://example.org/"]),
        (("--audience", "ca"), ["audience: ca"]),
        (("--root-config-map", "roots"), ["name: roots"]),
        (("--root-key", "ca.crt"), ["key: ca.crt"]),
        (("--listen-address", "::"), ["address: '::'"]),
        (("--sidecars", "plain"), ['"sidecars":"plain"']),
        (("--image", "m:1"), ["image: m:1"]),
        (("--envoy-image", "e:1"), ["image: e:1"]),
        (("--run-as-user", "1000"), ["runAsUser: 1000"]),
        (("--max-connection-age", "5m"), ["max_connection_duration: 300s"]),
        (("--app-protocol", "http2"), ["http2_protocol_options: {}"]),
        (("--health-path", "/h"), ["path: /h"]),
    ],
    ids=lambda value: value[0],
)
def test_flags(flags: tuple[str, ...], words: list[str]) -> None:
    """Each changes what it says."""
    before, (code, after, _) = run(given=TEXT)[1], run(*flags, given=TEXT)
    assert code == 0
    assert [word in before for word in words] == [False] * len(words)
    assert [word in after for word in words] == [True] * len(words)


def test_no_mtls_endpoint() -> None:
    """An empty one is none."""
    agent, _ = sidecars("--endpoint-mtls", "")
    assert not any("mtls" in each for each in agent["args"])


def test_ports_of_the_flags() -> None:
    """For workloads that name none; annotations win."""
    bare = yaml.safe_dump(deployment({}))
    flags = ("--inbound", "9443:9080", "--outbound", "9001=pay:8443,spiffe://cluster.local/ns/a/sa/b")
    assert [port["containerPort"] for port in sidecars(*flags, text=bare)[1]["ports"]] == [9443]
    assert [port["containerPort"] for port in sidecars(*flags)[1]["ports"]] == [8443]


def test_namespace() -> None:
    """Of manifests that name none."""
    bare = yaml.safe_dump(deployment() | {"metadata": {"name": "web"}})
    assert run("-n", "shop", given=bare)[2] == "Deployment shop/web: injected\n"
    assert run(given=bare)[2] == "Deployment default/web: injected\n"


def test_all_problems_of_all_files(tmp_path: Path) -> None:
    """File, line, document, workload and field; exit 2 and nothing printed."""
    for name, annotation in (("a.yaml", "x"), ("b.yaml", "0:1")):
        (tmp_path / name).write_text(yaml.safe_dump(deployment({INBOUND: annotation}), sort_keys=False))
    code, out, err = run(str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), str(tmp_path / "none.yaml"))
    field = "document 1, Deployment shop/web: spec.template.metadata.annotations[meshca.io/inbound]"
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: nothing is injected:",
        f"  - {tmp_path}/a.yaml: line 11: {field}: x: expected PORT:APP_PORT, such as 8443:8080",
        f"  - {tmp_path}/b.yaml: line 11: {field}: a port must be above 0",
        f"  - {tmp_path}/none.yaml: cannot be read (No such file or directory); name an existing file",
    ]


def test_a_refused_file_is_not_written(tmp_path: Path) -> None:
    """It stays what it was."""
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(deployment({})))
    before = file.read_bytes()
    assert run(str(file), "-o", str(file))[0] == 2
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--endpoint", "ca"), "--endpoint:\n  - expected host:port"),
        (("--endpoint-mtls", "ca"), "--endpoint-mtls:\n  - expected host:port"),
        (("--trust-domain", "A"), "--trust-domain:\n"),
        (("--namespace", "A"), "--namespace:\n  - the namespace must be"),
        (("--image", "$(X)"), "--image:\n  - expected a value without blanks"),
        (("--root-key", ""), "--root-key:\n  - expected a value without blanks"),
        (("--max-connection-age", "5"), "--max-connection-age:\n  - expected a duration"),
        (("--max-connection-age", "0s"), "--max-connection-age:\n  - expected a duration over 0s"),
        (("--inbound", "x"), "--inbound:\n  - x: expected PORT:APP_PORT"),
        (("--outbound", "x"), "--outbound:\n  - x: expected PORT=HOST:PORT"),
        (("--health-path", "x"), "--health-path:\n  - x: expected a path"),
        (("--output", "/nowhere/a.yaml"), "--output:\n  - /nowhere/a.yaml cannot be written (No such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wrong_flags(flags: tuple[str, ...], error: str) -> None:
    """Named with what was expected, once, not for every workload."""
    code, out, err = run(*flags, given=TEXT)
    assert (code, out, error in err) == (2, "", True), err


def test_not_text(tmp_path: Path) -> None:
    """A binary is no manifest."""
    (tmp_path / "a").write_bytes(b"\xff")
    assert run(str(tmp_path / "a"))[2].endswith("a: is not UTF-8 text\n")
