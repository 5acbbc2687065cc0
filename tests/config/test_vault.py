"""What the section `upstream` with `kind: vault` takes and refuses, in the words of `meshca config check`."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.config.loader import changed, validated
from meshca.config.server import ServerConfig
from meshca.config.vault import (
    VaultAppRoleLogin,
    VaultCertLogin,
    VaultConfig,
    VaultKubernetesLogin,
    VaultLogin,
    VaultTokenLogin,
)
from meshca.errors import ConfigError

ADDRESS = "https://vault.example.org:8200"
TOKEN = {"token": {"file": "/run/token"}}
APPROLE = {"role_id": "meshca", "secret_id_file": "/run/secret-id"}
CERT = {"certificate_file": "/run/tls.crt", "key_file": "/run/tls.key"}
SHA = "ab" * 32


def tree(**changes: Any) -> dict[str, Any]:
    """A configuration with this upstream."""
    least = {"kind": "vault", "address": ADDRESS, "login": TOKEN, "roots": {"accept": "first_use"}}
    return {"upstream": least | changes}


def vault(**changes: Any) -> VaultConfig:
    """The upstream of it."""
    upstream = validated(tree(**changes), "meshca.yaml").upstream
    assert isinstance(upstream, VaultConfig)
    return upstream


def test_first_use_is_not_for_memory() -> None:
    """Which root was the first must be found again after a restart."""
    with pytest.raises(ConfigError, match="memory forgets which root was the first"):
        vault(custody="memory")
    assert vault(custody="memory", roots={"sha256": [SHA]}).custody == "memory"


def test_defaults() -> None:
    """The default issuer of `pki`, an intermediate of thirty days kept in a file, looked after twice a minute."""
    config = vault()
    assert (config.mount, config.issuer, config.namespace, config.custody) == ("pki", "default", None, "file")
    assert (config.timeout, config.poll) == (timedelta(seconds=10), timedelta(seconds=30))
    assert config.intermediate_lifetime == timedelta(days=30)
    assert (config.allow_http, config.ca_file, config.certificate_sha256, config.redirect_hosts) == (
        False,
        None,
        None,
        (),
    )


@pytest.mark.parametrize("roots", [{"accept": "any"}, {"sha256": [SHA]}, {"file": "/run/roots.pem"}])
@pytest.mark.parametrize(
    "login", [TOKEN, {"approle": APPROLE}, {"cert": CERT}, {"kubernetes": {"role": "meshca"}}]
)
def test_goes_to_the_workers_and_back(login: dict[str, Any], roots: dict[str, Any]) -> None:
    """What is dumped is read again as it was."""
    config = validated(tree(login=login, roots=roots, redirect_hosts=["a:1"]), "meshca.yaml")
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("login", "kind"),
    [
        (TOKEN, VaultTokenLogin),
        ({"approle": APPROLE}, VaultAppRoleLogin),
        ({"cert": CERT}, VaultCertLogin),
        ({"kubernetes": {"role": "meshca"}}, VaultKubernetesLogin),
    ],
)
def test_method(login: dict[str, Any], kind: type[object]) -> None:
    """The one login that is given."""
    assert type(VaultLogin.model_validate(login).method) is kind


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("address", "https://vault.example.org", "https://vault.example.org"),
        ("address", ADDRESS + "/", ADDRESS),
        ("address", "https://[fd00::1]:8200", "https://[fd00::1]:8200"),
        ("address", "https://10.0.0.1:1", "https://10.0.0.1:1"),
        ("namespace", "team/a/", "team/a"),
        ("mount", "mesh/pki", "mesh/pki"),
        ("mount", "pki_int.v2", "pki_int.v2"),
        ("issuer", "2f0c3b1e-0c3b", "2f0c3b1e-0c3b"),
        ("certificate_sha256", "AB:" * 31 + "AB", SHA),
        ("redirect_hosts", ["vault-1.example.org:8200", "[::1]:443"], ("vault-1.example.org:8200", "[::1]:443")),
    ],
)
def test_taken(key: str, value: object, expected: object) -> None:
    """One value has one spelling."""
    assert getattr(vault(**{key: value}), key) == expected


def test_http_where_it_is_allowed() -> None:
    """Over http only where the configuration says so."""
    assert vault(address="http://127.0.0.1:8200", allow_http=True).address == "http://127.0.0.1:8200"


_URL = "address: expected https://host or https://host:port without a path, such as https://vault.example.org:8200"
_PATH = (
    "expected a path as `vault secrets list`, `vault auth list` or `vault namespace list` shows it, such as"
    " pki or team/pki"
)
_ISSUER = "issuer: expected the name or id of an issuer as `vault list <mount>/issuers` shows it, or default"
_ONE_LOGIN = "login: expected exactly one of token, kubernetes, approle and cert; "
_ONE_ROOTS = "roots: expected exactly one of file, sha256 and accept: pin the roots by a file or by fingerprints"
_HOST = "expected host:port without a scheme, such as vault-1.example.org:8200"
_FINGERPRINT = "expected the SHA-256 of a certificate's DER, 64 hexadecimal digits, with or without colons"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"address": "vault.example.org:8200"}, _URL),
        ({"address": "https://vault.example.org/v1"}, _URL),
        ({"address": "https://user:password@vault.example.org"}, _URL),
        ({"address": "https://vault.example.org:65536"}, _URL),
        ({"address": "https://vault.example.org:0"}, _URL),
        ({"address": "https://" + "a" * 64 + ".org"}, _URL),
        ({"address": "https://a..org"}, _URL),
        ({"address": ADDRESS + "\n"}, _URL),
        ({"address": "ftp://vault.example.org"}, _URL),
        ({"address": "http://vault.example.org"}, ": address: expected https; over http anybody on the way reads"),
        ({"namespace": "/team"}, "namespace: " + _PATH),
        ({"namespace": "a" * 300}, "namespace: " + _PATH),
        ({"mount": "pki/../sys"}, "mount: " + _PATH),
        ({"mount": "pki?x"}, "mount: " + _PATH),
        ({"mount": ""}, "mount: " + _PATH),
        ({"mount": "a//b"}, "mount: " + _PATH),
        ({"issuer": "a/b"}, _ISSUER),
        ({"issuer": ".."}, _ISSUER),
        ({"issuer": ""}, _ISSUER),
        ({"certificate_sha256": "ab"}, "certificate_sha256: " + _FINGERPRINT),
        (
            {"certificate_sha256": SHA, "ca_file": "/run/ca.pem"},
            ": ca_file and certificate_sha256 exclude each other: give one of them",
        ),
        (
            {"certificate_sha256": SHA, "redirect_hosts": ["vault-1:8200"]},
            (
                ": redirect_hosts and certificate_sha256 exclude each other: another host has another certificate."
                " Give ca_file"
            ),
        ),
        ({"redirect_hosts": ["vault-1"]}, "redirect_hosts.0: " + _HOST),
        ({"redirect_hosts": ["a:1", "https://vault-1:8200"]}, "redirect_hosts.1: " + _HOST),
        ({"redirect_hosts": ["vault-1:0"]}, "redirect_hosts.0: " + _HOST),
        ({"redirect_hosts": ["vault-1:99999"]}, "redirect_hosts.0: " + _HOST),
        ({"redirect_hosts": ["user@vault-1:8200"]}, "redirect_hosts.0: " + _HOST),
        ({"login": {}}, _ONE_LOGIN + "none is given"),
        ({"login": {**TOKEN, "approle": APPROLE}}, _ONE_LOGIN + "not token and approle"),
        ({"login": {"token": {}}}, "login.token.file: field required"),
        ({"login": {"password": {}}}, "login.password: unknown key; remove it or correct its spelling"),
        ({"login": {"token": {"file": "/t", "value": "s"}}}, "login.token.value: unknown key"),
        ({"login": {"kubernetes": {"role": ""}}}, "login.kubernetes.role: "),
        ({"login": {"approle": {**APPROLE, "mount": "../sys"}}}, "login.approle.mount: " + _PATH),
        ({"roots": {}}, _ONE_ROOTS),
        ({"roots": {"accept": "any", "sha256": [SHA]}}, _ONE_ROOTS),
        ({"roots": {"file": "/run/roots.pem", "accept": "any"}}, _ONE_ROOTS),
        ({"roots": {"accept": "all"}}, "roots.accept: "),
        ({"roots": {"sha256": ["xy"]}}, "roots.sha256.0: " + _FINGERPRINT),
        ({"poll": "0s"}, "poll: must be longer than 0s"),
        ({"intermediate_lifetime": "1m"}, "intermediate_lifetime: expected more than 1m, such as 30d: an interm"),
        ({"intermediate_lifetime": "0s"}, "intermediate_lifetime: must be longer than 0s"),
        ({"timeout": 10}, "timeout: "),
        ({"timeout": "61s"}, "timeout: must be at most 1m"),
        ({"key_type": "ed25519"}, "key_type: "),
        ({"custody": "vault"}, "custody: "),
        ({"token": "s"}, "token: unknown key; remove it or correct its spelling"),
    ],
)
def test_refused(changes: dict[str, Any], words: str) -> None:
    """Each mistake is told by its place, what was expected, and what to do."""
    with pytest.raises(ConfigError) as caught:
        validated(tree(**changes), "meshca.yaml")
    assert any(problem.startswith("upstream.vault") and words in problem for problem in caught.value.problems)


NEAR_AN_ADDRESS = st.text() | st.text("https:/.[]@?#-a1").map("https://".__add__)


@given(st.sampled_from(["address", "namespace", "mount", "issuer"]), NEAR_AN_ADDRESS)
def test_any_text(key: str, value: str) -> None:
    """Whatever text is given is refused, or is one spelling that stays, fit for a URL."""
    with contextlib.suppress(ConfigError):
        taken = getattr(vault(**{key: value}), key)
        assert getattr(vault(**{key: taken}), key) == taken
        assert not set(taken) & set("?#@\\ %\n")
        assert ".." not in taken.split("/")


def test_completed() -> None:
    """Keys from elsewhere are checked as those of the file, and told by where they are from."""
    assert changed(vault(), {"mount": "mesh"}, "SOMEWHERE").mount == "mesh"
    with pytest.raises(ConfigError) as caught:
        changed(vault(), {"mount": "a//b"}, "SOMEWHERE")
    assert caught.value.detail == f"SOMEWHERE: {_PATH}"
