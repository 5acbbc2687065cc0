"""What of `VAULT_*` counts, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError
from meshca.upstream.vault.environment import completed

ADDRESS = "https://vault.example.org:8200"


def config(**changes: Any) -> VaultConfig:
    """The least that is to be configured, and more."""
    login = {"token": {"file": "/run/token"}}
    return VaultConfig.model_validate({"kind": "vault", "login": login, "roots": {"accept": "any"}} | changes)


def test_fills_in() -> None:
    """What the configuration leaves out is taken from the environment, without a word."""
    environ = {"VAULT_ADDR": ADDRESS + "/", "VAULT_NAMESPACE": "team/a/", "VAULT_CACERT": "/etc/ca.pem"}
    whole, notes = completed(config(), environ)
    assert (whole.address, whole.namespace, whole.ca_file) == (ADDRESS, "team/a", Path("/etc/ca.pem"))
    assert notes == []


def test_keeps_the_rest() -> None:
    """What is filled in changes nothing else."""
    before = config(
        redirect_hosts=["a:1"], timeout="3s", login={"approle": {"role_id": "r", "secret_id_file": "/s"}}
    )
    whole, _ = completed(before, {"VAULT_ADDR": ADDRESS})
    assert whole == before.model_copy(update={"address": ADDRESS})


@pytest.mark.parametrize(
    ("changes", "name", "value", "note"),
    [
        (
            {"address": ADDRESS},
            "VAULT_ADDR",
            "https://other.example.org",
            "VAULT_ADDR is set to something else than upstream.address; the configuration wins",
        ),
        (
            {"address": ADDRESS, "namespace": "a"},
            "VAULT_NAMESPACE",
            "b",
            "VAULT_NAMESPACE is set to something else than upstream.namespace; the configuration wins",
        ),
        (
            {"address": ADDRESS, "ca_file": "/etc/a.pem"},
            "VAULT_CACERT",
            "/etc/b.pem",
            "VAULT_CACERT is set to something else than upstream.ca_file; the configuration wins",
        ),
        (
            {"address": ADDRESS, "certificate_sha256": "ab" * 32},
            "VAULT_CACERT",
            "/etc/b.pem",
            "VAULT_CACERT is set to something else than upstream.certificate_sha256; the configuration wins",
        ),
    ],
)
def test_configuration_wins(changes: dict[str, Any], name: str, value: str, note: str) -> None:
    """Where both say something the configuration wins, and says so when they differ."""
    assert completed(config(**changes), {name: value}) == (config(**changes), [note])


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS + "/"])
def test_same_is_no_word(address: str) -> None:
    """Where both say the same there is nothing to say."""
    assert completed(config(address=ADDRESS), {"VAULT_ADDR": address, "VAULT_NAMESPACE": ""})[1] == []


@pytest.mark.parametrize(
    "name", ["VAULT_TOKEN", "VAULT_SKIP_VERIFY", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_CAPATH"]
)
def test_never_taken(name: str) -> None:
    """Secrets and the wish to verify less are not taken, which is said without their value."""
    whole, [note] = completed(config(address=ADDRESS), {name: "the-value"})
    assert whole == config(address=ADDRESS)
    assert note.startswith(f"{name} is set and not used; ")
    assert "upstream." in note
    assert "the-value" not in note


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "upstream: address: expected https://host:port of Vault, here or in VAULT_ADDR"),
        ({"VAULT_ADDR": ""}, "upstream: address: expected https://host:port of Vault, here or in VAULT_ADDR"),
        ({"VAULT_ADDR": "vault:8200"}, "VAULT_ADDR: expected https://host or https://host:port without a path"),
        (
            {"VAULT_ADDR": "http://vault:8200"},
            "VAULT_ADDR: address: expected https; over http anybody on the way reads our token and forges",
        ),
        ({"VAULT_ADDR": ADDRESS, "VAULT_NAMESPACE": "a b"}, "VAULT_NAMESPACE: expected a path as "),
        ({"VAULT_ADDR": ADDRESS, "VAULT_CACERT": "a\0"}, "VAULT_CACERT: expected a path"),
    ],
)
def test_refused(environ: dict[str, str], words: str) -> None:
    """What is not valid is told by the name of the variable."""
    with pytest.raises(ConfigError) as caught:
        completed(config(), environ)
    assert caught.value.detail.startswith(words)


def test_http_where_it_is_allowed() -> None:
    """`allow_http` of the configuration holds for VAULT_ADDR too."""
    whole, _ = completed(config(allow_http=True), {"VAULT_ADDR": "http://127.0.0.1:8200"})
    assert whole.address == "http://127.0.0.1:8200"
