"""The least policy, and the commands that give it to our login."""

from __future__ import annotations

import re

import pytest

from meshca.upstream.vault.policy import commands, excesses, least, needs, policy
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.vault_place import vault_config


def test_the_policy() -> None:
    """One rule for each need, on exact paths, with the mount and the issuer of the configuration."""
    config = vault_config(mount="mesh/pki", issuer="two")
    assert (
        policy(config)
        == """\
# have our intermediate signed
path "mesh/pki/issuer/two/sign-intermediate" { capabilities = ["update"] }
# see that the issuer may sign; only checks ask
path "mesh/pki/issuer/two" { capabilities = ["read"] }
# make our token last
path "auth/token/renew-self" { capabilities = ["update"] }
# see how long our token lasts
path "auth/token/lookup-self" { capabilities = ["read"] }
# compare this policy; only checks ask
path "sys/capabilities-self" { capabilities = ["update"] }"""
    )


def test_nothing_needed_is_an_excess() -> None:
    """Whatever the mount and the issuer are called."""
    config = vault_config(issuer="meshca-probe")
    assert not {one.path for one in needs(config)} & {one.path for one in excesses(config)}


@pytest.mark.parametrize(
    "rule",
    [
        *("*", "pki/*", "pki/issuer/*", "pki/issuer/default/*", "pki/+/default/*", "pki/issuer/default/sign-*"),
        *("pki/issuer/default/sign-verbatim", "pki/issuer/default/sign-verbatim/*", "pki/issuer/default/sign/*"),
        *("pki/issuer/default/issue/*", "pki/issuer/default/sign-self-issued", "pki/issuer/default/revoke"),
        *("pki/sign-verbatim/*", "pki/root/*", "pki/root/sign-self-issued", "pki/root/replace", "pki/revoke"),
        *("pki/intermediate/*", "pki/intermediate/set-signed", "pki/keys/*", "pki/keys/import", "pki/key/*"),
        *("pki/config/*", "pki/issuers/*", "pki/issuer/+", "auth/*", "sys/*"),
    ],
)
def test_a_broad_rule_is_seen(rule: str) -> None:
    """A rule of somebody's policy with which more can be had than CAs below our issuer reaches a probe."""
    reached = re.compile(re.escape(rule).replace(r"\*", ".*").replace(r"\+", "[^/]+"))
    assert any(reached.fullmatch(one.path) for one in excesses(vault_config()))


TOKEN = "token_policies=meshca token_no_default_policy=true token_ttl=1h"
MADE = "bao token create -policy=meshca -no-default-policy -orphan -period=24h -field=token"
BOUND = "bound_service_account_names=meshca bound_service_account_namespaces=NAMESPACE audience=vault"
ROLE = "auth/approle/role/meshca"
WRAPPED = f"bao write -wrap-ttl=5m -f -field=wrapping_token {ROLE}/secret-id"
LOGINS: list[tuple[dict[str, object], tuple[str, ...]]] = [
    ({"token": {"file": "/run/token"}}, (f"(umask 077; {MADE} > /run/token)",)),
    ({"kubernetes": {"role": "mesh"}}, (f"bao write auth/kubernetes/role/mesh {BOUND} {TOKEN}",)),
    (
        {"approle": {"role_id": "x", "secret_id_file": "/run/id", "wrapped": True}},
        (
            f"bao write {ROLE} secret_id_bound_cidrs=CIDR token_bound_cidrs=CIDR {TOKEN}",
            f"bao read -field=role_id {ROLE}/role-id",
            f"(umask 077; {WRAPPED} > /run/id)",
        ),
    ),
    (
        {"cert": {"certificate_file": "/c", "key_file": "/k"}},
        (f"bao write auth/cert/certs/meshca certificate=@CA_FILE allowed_uri_sans=URI {TOKEN}",),
    ),
]


@pytest.mark.parametrize(
    ("login", "made"), LOGINS, ids=lambda one: next(iter(one)) if isinstance(one, dict) else ""
)
def test_commands(login: dict[str, object], made: tuple[str, ...]) -> None:
    """The policy, and a role of the configured login that has it and no other."""
    assert commands(vault_config(login=login), TRUST_DOMAIN) == (
        "meshca vault policy --config FILE | bao policy write meshca -",
        *made,
    )


def test_the_text_can_be_given_to_the_server() -> None:
    """What is no rule is a comment."""
    lines = least(vault_config(), TRUST_DOMAIN).text.splitlines()
    assert all(line.startswith(("path ", "#")) or not line for line in lines)


def test_leaves() -> None:
    """Leaves by the one role and any issuer, and the role with all that keeps a request from having a say."""
    config = vault_config(mount="mesh/pki", sign_leaves={"role": "web"})
    (rule,) = [line for line in policy(config).splitlines() if "/sign/" in line]
    assert rule == 'path "mesh/pki/issuer/+/sign/web" { capabilities = ["update"] }'
    role = commands(config, TRUST_DOMAIN)[0]
    assert role.startswith("bao write mesh/pki/roles/web allowed_uri_sans='spiffe://cluster.local/ns/*' ")
    for option in ("use_csr_sans=false", "use_csr_common_name=false", "require_cn=false", "no_store=true"):
        assert option in role.split()
