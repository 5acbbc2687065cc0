"""Tests of `meshca admission`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshca.cli.admission import app

EXAMPLES = Path(__file__).parents[2] / "policies" / "admission"
WEB = ("explain", "--namespace", "shop", "--service-account", "web")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_good_file() -> None:
    """Exit 0 and one line."""
    file = str(EXAMPLES / "emergency-brake.yaml")
    assert run("check", file) == (0, f"{file}: good, 6 rules, 5 of them refuse\n", "")


def test_a_good_file_as_json() -> None:
    """Scripts get the names of the rules and the version."""
    code, out, _ = run("check", str(EXAMPLES / "default.yaml"), "-o", "json")
    document = json.loads(out)
    assert (code, document["rules"], len(document["version"])) == (0, ["own-identity-of-a-pod"], 64)


def test_a_bad_file_lists_everything(tmp_path: Path) -> None:
    """Exit 2, every problem on standard error, nothing on standard output."""
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n- {name: A, effect: grant, match: {}}\nextra: 1\n")
    assert run("check", str(file)) == (
        2,
        "",
        (
            f"error: {file}:\n"
            "  - line 2: rules[0].name: expected a name of a-z, 0-9 and inner -, at most 63 characters\n"
            "  - line 3: extra: unknown key; remove it or correct its spelling\n"
        ),
    )


def test_a_missing_file(tmp_path: Path) -> None:
    """Exit 2 with the reason and what to do, no traceback."""
    code, _, err = run("check", str(tmp_path / "none.yaml"))
    assert (code, "cannot be read (No such file or directory); name an existing file" in err) == (2, True)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """Exit 2, no traceback."""
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe")
    code, _, err = run("check", str(tmp_path / "rules.yaml"))
    assert (code, "is not UTF-8 text" in err) == (2, True)


def test_a_named_pipe(tmp_path: Path) -> None:
    """Exit 2 at once: nobody may ever write into it."""
    os.mkfifo(tmp_path / "rules.yaml")
    code, _, err = run("check", str(tmp_path / "rules.yaml"))
    assert (code, "is no regular file" in err) == (2, True)


def test_a_file_for_another_trust_domain() -> None:
    """The trust domain is the server's, so it is a flag."""
    code, _, err = run("check", str(EXAMPLES / "emergency-brake.yaml"), "--trust-domain", "other")
    assert (code, "only identities of spiffe://other are issued" in err) == (2, True)


def test_explaining_a_grant() -> None:
    """Exit 0, the rule that decides, and the shipped rules when no file is named."""
    assert run(*WEB) == (
        0,
        (
            "granted: spiffe://cluster.local/ns/shop/sa/web by rule own-identity-of-a-pod, at most 90d,"
            " ec-p256, ec-p384, rsa\n\n"
            "RULE                   EFFECT  MATCHES  BECAUSE\n"
            "own-identity-of-a-pod  grant   yes      this rule decides\n"
        ),
        "",
    )


def test_explaining_a_denial() -> None:
    """Exit 1, and why each rule does not match."""
    assert run(*WEB, "--no-pod", "--issuer", "west") == (
        1,
        (
            "denied: no rule grants spiffe://cluster.local/ns/shop/sa/web to shop/web (no_rule)\n\n"
            "RULE                   EFFECT  MATCHES  BECAUSE\n"
            "own-identity-of-a-pod  grant   no       issuers: west is none of home;"
            " pod_bound: the proof is not bound to a pod\n"
        ),
        "",
    )


def test_explaining_the_brake_as_json() -> None:
    """Exit 1, the refusing rule decides and the grant is overruled."""
    code, out, _ = run(
        *WEB, "--proven-by", "client_cert", "--serial", "7a31c5d9e80b4f6612d3c4a5b6978801",
        "--file", str(EXAMPLES / "emergency-brake.yaml"), "--output", "json",
    )  # fmt: skip
    document = json.loads(out)
    assert (code, document["granted"], document["reason"], document["rule"]) == (
        1,
        False,
        "refused_by_rule",
        "stop-renewal-of-a-certificate",
    )
    assert document["rules"][-1] == {
        "name": "own-identity-of-a-pod",
        "effect": "grant",
        "matched": True,
        "decided": False,
        "mismatches": [],
    }


def test_explaining_a_grant_as_json() -> None:
    """Limits are spelled as in files."""
    code, out, _ = run(
        "explain", "--namespace", "partner-a", "--service-account", "x", "--issuer", "west", "--pod", "x-1",
        "-f", str(EXAMPLES / "two-clusters.yaml"), "-o", "json",
    )  # fmt: skip
    document = json.loads(out)
    assert (code, document["max_lifetime"], document["key_types"]) == (0, "1h", ["ec-p256", "ec-p384"])


def test_another_wish() -> None:
    """The identity asked for may differ from the caller's own."""
    code, out, _ = run(*WEB, "--wanted", "spiffe://cluster.local/ns/shop/sa/payments")
    assert (code, "is not the caller's own spiffe://cluster.local/ns/shop/sa/web" in out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*WEB, "--wanted", "shop/web"), "a SPIFFE ID must begin with spiffe://"),
        ((*WEB, "--trust-domain", "A"), "trust domain must be one or more of"),
        (("explain", "--namespace", "Shop", "--service-account", "web"), "the namespace must be a DNS-1123 label"),
        ((*WEB, "--pod", "a", "--no-pod"), "give one of them"),
        ((*WEB, "--proven-by", "magic"), "Invalid value for '--proven-by'"),
        (("explain", "--namespace", "shop"), "Missing option '--service-account'"),
    ],
    ids=["wanted", "trust domain", "namespace", "pod twice", "proof", "missing"],
)
def test_bad_flags(arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 with what was expected."""
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, _, err = run(*arguments)
    assert (code, message in err) == (2, True)
