"""Tests of `meshca policy`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshca.cli.policy import app

EXAMPLES = str(Path(__file__).parents[2] / "policies" / "authz")
WEB = ("--namespace", "shop", "--label", "app=payments", "--principal", "spiffe://cluster.local/ns/shop/sa/web")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_good_policies() -> None:
    """Exit 0 and one line."""
    assert run("check", EXAMPLES) == (0, "good: 5 policies, 2 of them deny\n", "")


def test_good_policies_as_json() -> None:
    """Scripts get each policy's name and action."""
    code, out, _ = run("check", f"{EXAMPLES}/mesh-wide.yaml", "-o", "json")
    expected = [{"namespace": "istio-system", "name": "quarantine", "action": "DENY"}]
    assert (code, json.loads(out)) == (0, {"policies": expected})


def test_bad_policies_list_everything(tmp_path: Path) -> None:
    """Exit 2, every problem of every file on standard error."""
    (tmp_path / "a.yaml").write_text("kind: x\n")
    (tmp_path / "b.yaml").write_text("")
    assert run("check", str(tmp_path)) == (
        2,
        "",
        (
            "error: authorization policies:\n"
            f"  - {tmp_path}/a.yaml: apiVersion: is missing; expected security.istio.io/v1\n"
            f"  - {tmp_path}/a.yaml: kind: not supported yet; expected AuthorizationPolicy\n"
            f"  - {tmp_path}/b.yaml: holds no policy; write one, or delete the file\n"
        ),
    )


def test_explains_what_is_allowed() -> None:
    """Exit 0; the rule that decides is named first and marked."""
    code, out, _ = run("explain", EXAMPLES, *WEB, "--path", "/v1/payments?x=1")
    (
        first,
        *_,
    ) = out.splitlines()
    assert (code, first) == (0, "allowed by ns[shop]-policy[payments-callers]-rule[0]")
    assert "matches, decides" in out


def test_explains_what_is_denied() -> None:
    """Exit 1 for a denied request, so that scripts can ask."""
    code, out, _ = run("explain", EXAMPLES, *WEB, "--path", "/admin", "-o", "json")
    found = json.loads(out)
    assert (code, found["allowed"], found["rule"]) == (1, False, "ns[shop]-policy[payments-no-admin]-rule[0]")
    assert [item["name"] for item in found["considered"] if item["decided"]] == [found["rule"]]


def test_principal_without_scheme() -> None:
    """A principal may be written as policies write it."""
    short = (*WEB[:-1], "cluster.local/ns/shop/sa/web")
    assert run("explain", EXAMPLES, *short, "--path", "/v1")[0] == 0


def test_caller_without_certificate() -> None:
    """Without a principal the caller has proven nothing."""
    assert run("explain", EXAMPLES, *WEB[:-2], "--path", "/v1")[0] == 1


def test_root_namespace(tmp_path: Path) -> None:
    """Another root namespace can be asked about."""
    asked = ("--namespace", "any", "--principal", "cluster.local/ns/quarantine/sa/x", "--path", "/")
    assert run("explain", EXAMPLES, *asked, "--root-namespace", "istio-system")[0] == 1
    assert run("explain", EXAMPLES, *asked, "--root-namespace", "other")[0] == 0


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        pytest.param(("--path", "//admin"), "error: --path:\n  - Envoy resolves //", id="path"),
        pytest.param(("--path", "/", "--principal", "x"), "error: --principal:\n  - the path of", id="principal"),
        pytest.param(
            ("--path", "/", "--trust-domain", "X"), "error: --trust-domain:\n  - trust domain", id="domain"
        ),
        pytest.param(("--path", "/", "--label", "app"), "error: --label:\n  - expected key=value", id="label"),
    ],
)
def test_wrong_flags(flags: tuple[str, ...], error: str) -> None:
    """Exit 2, and the flag is named with what was expected."""
    code, out, err = run("explain", EXAMPLES, "--namespace", "shop", *flags)
    assert (code, out, err.startswith(error)) == (2, "", True)
