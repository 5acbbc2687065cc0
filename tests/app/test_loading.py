"""Facts about reading everything that a server starts from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.app.loading import (
    SHIPPED,
    admission_paths,
    admission_read,
    load,
    policies_read,
    policy_paths,
    read_admission,
    read_policies,
)
from meshca.config.server import AdmissionConfig, PoliciesConfig, ServerConfig
from meshca.errors import ConfigError
from tests.fakes.logs import captured_logs
from tests.fakes.tokens import ec_key, public_jwk

RULES = """
rules:
  - name: own
    effect: grant
    match: {namespaces: [shop]}
    grant: {identity: own}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: shop}
spec: {rules: [{}]}
"""


SELECTING = POLICY.replace("spec: {", "spec: {selector: {matchLabels: {app: web}}, ")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A good configuration with a file of each kind."""
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICY)
    jwks = {"keys": [public_jwk(ec_key(), kid="k", alg="ES256", use="sig")]}
    (tmp_path / "jwks.json").write_text(json.dumps(jwks))
    return {
        "data_dir": "data",
        "admission": {"file": "rules.yaml"},
        "policies": {"dir": "policies"},
        "authn": {"issuers": [{"issuer": "https://i.example", "keys": {"file": "jwks.json"}}]},
    }


def write(folder: Path, tree: dict[str, Any]) -> Path:
    """The configuration as a file."""
    path = folder / "meshca.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _piped(path: Path) -> None:
    """A named pipe in a file's place."""
    path.unlink()
    os.mkfifo(path)


def test_everything_is_read(tmp_path: Path, config: dict[str, Any]) -> None:
    """The files are read with the configuration, relative to it."""
    found = load(write(tmp_path, config), {})
    assert found.config.data_dir == tmp_path / "data"
    assert found.admission.text == RULES
    assert list(found.policies.news.files.values()) == [POLICY]


def test_nothing_is_made(tmp_path: Path, config: dict[str, Any]) -> None:
    """Loading makes nothing on disk."""
    path = write(tmp_path, config)
    before = sorted(tmp_path.rglob("*"))
    load(path, {})
    assert sorted(tmp_path.rglob("*")) == before


def test_defaults() -> None:
    """Without a file the shipped rules hold and there are no policies."""
    found = load(None, {})
    assert found.admission.source == SHIPPED
    assert found.policies.news.files == {}


def test_environment_overrides(tmp_path: Path, config: dict[str, Any]) -> None:
    """Environment variables override the file."""
    assert (
        load(write(tmp_path, config), {"MESHCA__TRUST_DOMAIN": "other.example"}).config.trust_domain.name
        == "other.example"
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "rules.yaml").unlink(), "rules.yaml: cannot be read"),
        (lambda f: (f / "rules.yaml").write_text("rules: ["), "rules.yaml: line"),
        (lambda f: (f / "rules.yaml").write_bytes(b"\xff\xfe"), "rules.yaml: is not UTF-8"),
        (lambda f: _piped(f / "rules.yaml"), "rules.yaml: is no regular file"),
        (lambda f: _piped(f / "policies" / "all.yaml"), "all.yaml: is no regular file"),
        (lambda f: _piped(f / "jwks.json"), "jwks.json: is no regular file"),
        (lambda f: (f / "policies" / "all.yaml").write_text("kind: Other"), "all.yaml"),
        (
            lambda f: (f / "policies" / "all.yaml").rename(f / "policies" / "b.yaml").parent.rename(f / "p"),
            "policies",
        ),
        (lambda f: (f / "jwks.json").unlink(), "jwks.json: cannot be read"),
        (lambda f: (f / "jwks.json").write_text("{}"), "jwks.json: expected"),
    ],
    ids=[
        "no rules",
        "bad rules",
        "binary rules",
        "piped rules",
        "piped policies",
        "piped keys",
        "bad policy",
        "no policies",
        "no keys",
        "bad keys",
    ],
)
def test_bad_file(tmp_path: Path, config: dict[str, Any], spoil: Any, words: str) -> None:
    """A file that is missing or wrong is named."""
    path = write(tmp_path, config)
    spoil(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert words in str(caught.value)


def test_bad_name(tmp_path: Path, config: dict[str, Any]) -> None:
    """A serving name that is neither DNS name nor address is named."""
    config["serving"] = {"names": ["good.example", "not a name"]}
    with pytest.raises(ConfigError, match="'not a name'"):
        load(write(tmp_path, config), {})


def test_all_problems_at_once(tmp_path: Path, config: dict[str, Any]) -> None:
    """Problems of several files are listed together."""
    path = write(tmp_path, config)
    (tmp_path / "rules.yaml").write_text("rules: [")
    (tmp_path / "policies" / "all.yaml").write_text("kind: Other")
    (tmp_path / "jwks.json").unlink()
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert {"rules.yaml", "all.yaml", "jwks.json"} <= {
        word
        for problem in caught.value.problems
        for word in ("rules.yaml", "all.yaml", "jwks.json")
        if word in problem
    }


def test_watched_paths(tmp_path: Path) -> None:
    """What is watched are the files that would be read; none while the folder cannot be read."""
    (tmp_path / "a.yaml").write_text(POLICY)
    (tmp_path / ".hidden.yaml").write_text("x")
    policies = ServerConfig(policies=PoliciesConfig(dir=tmp_path))
    assert policy_paths(policies) == [tmp_path / "a.yaml"]
    assert policy_paths(ServerConfig(policies=PoliciesConfig(dir=tmp_path / "none"))) == []
    assert policy_paths(ServerConfig()) == []
    rules = ServerConfig(admission=AdmissionConfig(file=tmp_path / "rules.yaml"))
    assert admission_paths(rules) == [tmp_path / "rules.yaml"]
    assert admission_paths(ServerConfig()) == []


def test_what_was_read_is_what_is_watched(tmp_path: Path, config: dict[str, Any]) -> None:
    """The files as they were read are named as the watched ones are; none when none is configured."""
    found = load(write(tmp_path, config), {})
    assert admission_read(found) == dict.fromkeys(admission_paths(found.config), RULES)
    assert policies_read(found) == dict.fromkeys(policy_paths(found.config), POLICY)
    assert (admission_read(load(None, {})), policies_read(load(None, {}))) == ({}, {})


def test_read_again(tmp_path: Path) -> None:
    """Rules and policies are read anew by themselves, for a change of their files."""
    (tmp_path / "rules.yaml").write_text(RULES)
    assert read_admission(ServerConfig(admission=AdmissionConfig(file=tmp_path / "rules.yaml"))).text == RULES
    assert read_policies(ServerConfig()).news.files == {}


def test_kubeconfig_that_is_not_there(tmp_path: Path, config: dict[str, Any]) -> None:
    """A file that is missing is named before anything starts."""
    config["kubernetes"] = {"kubeconfig": "admin.kubeconfig", "name": "west"}
    with pytest.raises(ConfigError, match=r"admin\.kubeconfig: cannot be read"):
        load(write(tmp_path, config), {})
    (tmp_path / "admin.kubeconfig").touch()
    found = load(write(tmp_path, config), {}).config.kubernetes
    assert found is not None
    assert found.kubeconfig == tmp_path / "admin.kubeconfig"


@pytest.mark.parametrize(
    ("sections", "warned"),
    [
        (["authn"], False),
        (["kubernetes"], False),
        ([], True),
        (["nothing_reviewed"], True),
    ],
    ids=["issuers", "a cluster", "none", "a cluster whose tokens are not reviewed"],
)
def test_that_nobody_can_be_proven_is_warned_of(
    tmp_path: Path, config: dict[str, Any], sections: list[str], *, warned: bool
) -> None:
    """A server that nobody can prove anything to would start without a word."""
    kubernetes = {"kubernetes": {}, "nothing_reviewed": {"token_review": {"enabled": False}}}
    if "authn" not in sections:
        del config["authn"]
    for section in set(sections) & kubernetes.keys():
        config["kubernetes"] = kubernetes[section]
    path = tmp_path / "meshca.yaml"
    path.write_text(yaml.safe_dump(config))
    with captured_logs() as logs:
        load(path, {})
    assert [line["event"] for line in logs] == (["authn.no_issuers"] if warned else [])


class TestSelectors:
    """A selector is about labels that somebody proves."""

    def test_nobody_proves_labels(self, config: dict[str, Any], tmp_path: Path) -> None:
        """Where no issuer is trusted for labels a selector would never hold, so it is refused by its policy."""
        (tmp_path / "policies" / "all.yaml").write_text(SELECTING)
        with pytest.raises(ConfigError, match=r"shop/all: spec\.selector: no issuer .* has a labels_claim"):
            load(write(tmp_path, config), {})

    def test_an_issuer_proves_labels(self, config: dict[str, Any], tmp_path: Path) -> None:
        """Where one is, selectors are taken."""
        (tmp_path / "policies" / "all.yaml").write_text(SELECTING)
        config["authn"]["issuers"][0]["labels_claim"] = "labels"
        assert load(write(tmp_path, config), {}).policies.news.files


def test_policies_that_fit_no_agent(config: dict[str, Any], tmp_path: Path) -> None:
    """A set that an agent would refuse is refused here, by its namespace."""
    values = [f"/{index}" + "x" * 900 for index in range(512)]
    for number in range(6):
        operations = [{"operation": {"paths": values}}]
        tree = yaml.safe_load(POLICY) | {"metadata": {"name": f"p{number}", "namespace": "shop"}}
        tree["spec"] = {"rules": [{"to": operations}]}
        (tmp_path / "policies" / f"{number}.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="namespace shop: its policies come to"):
        load(write(tmp_path, config), {})
