"""The example configuration is what it says it is: good, complete, all defaults; the README has each section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.app.in_force import FIXED
from meshca.config.authn import JwksConfig
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.loader import load_config
from meshca.config.model import Model
from meshca.config.server import ServerConfig
from meshca.config.vault import VaultConfig, VaultLogin, VaultRoots, VaultTokenCustody

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "meshca.yaml"
CLUSTER = EXAMPLE.with_name("kubernetes.yaml")
VAULT = EXAMPLE.with_name("vault.yaml")
SHOWN_IN_COMMENTS = {"kubeconfig", "namespace"}  # both are found out when absent
WITHOUT_DEFAULT = {"admission.file", "policies.dir", "ledger.url", "admin.uids"}  # shown in comments
ONE_OF = {"file", "discovery", "ca_file", "labels_claim"}  # of an issuer; the example has url


def test_is_a_good_configuration() -> None:
    """The server's own loader takes it."""
    load_config(EXAMPLE, {})


def test_shows_the_defaults() -> None:
    """Every value but the issuer and the socket's path is the default."""
    shown = load_config(EXAMPLE, {})
    assert shown.admin_socket == ServerConfig().admin_socket
    defaults = {"authn": shown.authn, "listen": shown.listen}
    assert shown == ServerConfig().model_copy(update=defaults)
    assert shown.listen.model_copy(update={"admin": None}) == ServerConfig().listen
    assert shown.authn.client_cert == ServerConfig().authn.client_cert


@pytest.mark.parametrize("section", sorted(ServerConfig.model_fields))
def test_has_every_key(section: str) -> None:
    """Every key of every section is in the file, or in a comment beside its section."""
    tree = yaml.safe_load(EXAMPLE.read_text())
    value = getattr(ServerConfig(), section)
    if not isinstance(value, Model):
        assert section in tree
        return
    missing = set(type(value).model_fields) - set(tree[section])
    assert {f"{section}.{name}" for name in missing} <= WITHOUT_DEFAULT
    text = EXAMPLE.read_text()
    assert all(f"{name}:" in text for name in missing)


def test_shows_the_defaults_of_a_cluster() -> None:
    """The file about Kubernetes is complete, and all defaults but for what needs a value to be shown."""
    text = CLUSTER.read_text()
    shown = KubernetesConfig.model_validate(yaml.safe_load(text)["kubernetes"])
    assert shown == KubernetesConfig()
    assert set(KubernetesConfig.model_fields) - set(yaml.safe_load(text)["kubernetes"]) == SHOWN_IN_COMMENTS
    assert all(f"# {name}:" in text for name in SHOWN_IN_COMMENTS)
    for name, section in yaml.safe_load(text)["kubernetes"].items():
        model = getattr(shown, name)
        if isinstance(model, Model):
            known = {field.alias or key for key, field in type(model).model_fields.items()}
            assert set(section) == known


def test_shows_the_defaults_of_a_vault() -> None:
    """The file about Vault is good as it stands, and all defaults but for what needs a value."""
    shown = load_config(VAULT, {}).upstream
    needed = {key: yaml.safe_load(VAULT.read_text())["upstream"][key] for key in ("kind", "address", "roots")}
    assert shown == VaultConfig.model_validate({**needed, "login": {"kubernetes": {"role": "meshca"}}})


def test_has_every_key_of_a_vault() -> None:
    """With what is in comments every key is there, also of each login, and what excludes others is good alone."""
    text = VAULT.read_text()
    every = yaml.safe_load(re.sub(r"^( +)# (\w+: )", r"\1\2", text, flags=re.MULTILINE))["upstream"]
    assert set(every) == set(VaultConfig.model_fields)
    assert set(every["roots"]) == set(VaultRoots.model_fields)
    assert set(every["custody_token"]) == set(VaultTokenCustody.model_fields)
    assert set(every["login"]) == set(VaultLogin.model_fields)
    for name, login in every["login"].items():
        assert set(login) == set(type(VaultLogin.model_validate({name: login}).method).model_fields)
    for name, value in every["roots"].items():
        VaultRoots.model_validate({name: value})
    good = yaml.safe_load(text)["upstream"]
    custody = {"custody_secret": "secret", "custody_seal_file": "secret", "custody_token": "pkcs11"}
    for name in every.keys() - good.keys():
        VaultConfig.model_validate({**good, "custody": custody.get(name, "file"), name: every[name]})


@pytest.mark.parametrize("section", sorted(ServerConfig.model_fields))
def test_the_readme_has_every_section(section: str) -> None:
    """The README's table has a row for each."""
    assert f"\n| `{section}` | " in (ROOT / "README.md").read_text()


def test_has_every_key_of_an_issuer() -> None:
    """The issuer shows every key that does not exclude another."""
    issuer: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["authn"]["issuers"][0]
    keys = JwksConfig.model_validate(issuer).keys
    assert set(JwksConfig.model_fields) - set(issuer) <= ONE_OF
    assert set(type(keys).model_fields) - set(issuer["keys"]) <= ONE_OF


@pytest.mark.parametrize("section", FIXED)
def test_says_what_needs_a_restart(section: str) -> None:
    """What cannot change while the server runs is marked so."""
    lines = EXAMPLE.read_text().splitlines()
    assert any(re.search(rf"^([\w:# ]*# )?{re.escape(section)}:.*\(restart\)", line) for line in lines)
