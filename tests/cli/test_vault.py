"""Tests of `meshca vault`: what is printed, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from meshca.cli.vault import app
from meshca.doctor.finding import Finding, Verdict
from tests.fakes.vault_place import vault_config

OK = Finding(name="vault-server", verdict=Verdict.OK, found="version 2.7.2")
BROAD = Finding(name="vault-policy", verdict=Verdict.WRONG, found="too broad", mend=("give our login the policy",))


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A server's configuration with a Vault."""
    upstream = vault_config().model_dump(mode="json", exclude_none=True)
    path = tmp_path / "meshca.yaml"
    path.write_text(yaml.safe_dump({"upstream": upstream}))
    return str(path)


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What is found: the one thing that the test says, whatever is asked."""
    found: list[Finding] = []

    async def asked(_path: Path | None, _seconds: float, *, sign: bool = False) -> AsyncIterator[Finding]:
        for one in found if sign else found[:1]:
            yield one

    monkeypatch.setattr("meshca.app.vault.check", asked)
    monkeypatch.setattr("meshca.app.vault.conformance", asked)
    return found


def test_policy(config: str) -> None:
    """It is printed, and nobody is asked."""
    code, out, _ = run("policy", "--config", config)
    assert code == 0
    assert out.startswith('# have our intermediate signed\npath "pki/issuer/default/sign-intermediate" {')


def test_policy_as_json(config: str) -> None:
    """The policy, and each command that gives it."""
    code, out, _ = run("policy", "--config", config, "--output", "json")
    said = json.loads(out)
    assert (code, sorted(said)) == (0, ["commands", "policy"])
    assert said["commands"][0] == "meshca vault policy --config FILE | bao policy write meshca -"
    assert said["policy"].endswith('path "sys/capabilities-self" { capabilities = ["update"] }')


def test_a_broad_policy(config: str, findings: list[Finding]) -> None:
    """The least one is printed below, ready to paste; exit code 1."""
    findings += [OK, BROAD]
    code, out, _ = run("check", "--config", config)
    told, policy, total = out.split("\n\n")[0], out, out.splitlines()[-1]
    assert code == 1
    assert told.splitlines()[0] == "ok       vault-server        version 2.7.2"
    assert 'path "auth/token/renew-self" { capabilities = ["update"] }' in policy
    assert total == "1 ok, 1 wrong, 0 unknown"


def test_without_a_signature(config: str, findings: list[Finding]) -> None:
    """`--no-sign` leaves it out; what is well has exit code 0 and no policy below."""
    findings += [OK, BROAD]
    assert run("check", "--no-sign", "--config", config) == (
        0,
        "ok       vault-server        version 2.7.2\n1 ok, 0 wrong, 0 unknown\n",
        "",
    )


def test_a_policy_that_is_not_seen(config: str, findings: list[Finding]) -> None:
    """Nothing is to be pasted then."""
    findings += [Finding(name="vault-policy", verdict=Verdict.UNKNOWN, found="not logged in", mend=("see login",))]
    assert 'path "' not in run("check", "--config", config)[1]


def test_check_as_json(config: str, findings: list[Finding]) -> None:
    """One document, which has the least policy too."""
    findings += [OK, BROAD]
    code, out, _ = run("check", "--config", config, "--output", "json")
    assert code == 1
    said = json.loads(out)
    assert [one["name"] for one in said["findings"]] == ["vault-server", "vault-policy"]
    assert said["policy"].startswith("# have our intermediate signed\npath ")


@pytest.mark.parametrize(("verdict", "code", "holds"), [("ok", 0, "1 of 1"), ("wrong", 1, "0 of 1")])
def test_conformance(config: str, findings: Sequence[Finding], verdict: str, code: int, holds: str) -> None:
    """How many facts hold, and what was signed for it."""
    assert isinstance(findings, list)
    findings.append(Finding(name="subject", verdict=Verdict(verdict), found="as seen"))
    ended, out, _ = run("conformance", "--config", config)
    assert ended == code
    assert out.splitlines()[-1] == f"{holds} facts hold; at most 2 throw-away intermediates were signed"


def test_conformance_as_json(config: str, findings: list[Finding]) -> None:
    """A report to keep."""
    findings.append(OK)
    _, out, _ = run("conformance", "--config", config, "--output", "json")
    assert json.loads(out) == {
        "facts": [{"name": "vault-server", "verdict": "ok", "found": "version 2.7.2", "mend": []}],
        "signed": 2,
    }


@pytest.mark.parametrize("command", ["check", "policy", "conformance"])
def test_without_a_vault(command: str, tmp_path: Path) -> None:
    """Exit code 2, and why."""
    path = tmp_path / "meshca.yaml"
    path.write_text("data_dir: data\n")
    code, _, err = run(command, "--config", str(path))
    assert code == 2
    assert "upstream.kind is not vault" in err
