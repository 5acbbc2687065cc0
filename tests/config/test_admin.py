"""Who may administer: what the configuration takes and refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.config.admin import AdminConfig
from meshca.config.loader import validated
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError

WEB = "spiffe://cluster.local/ns/ops/sa/web"


def problem(admin: dict[str, Any], **others: Any) -> str:
    """The one thing that is wrong with a section."""
    with pytest.raises(ConfigError) as caught:
        validated({"admin": admin, **others}, "f")
    (found,) = caught.value.problems
    return found


def test_by_default_one_person_does_everything() -> None:
    """The server's own user."""
    assert validated({}, "f").admin == AdminConfig()


def test_all_of_it() -> None:
    """And it reaches a worker as JSON, unchanged."""
    config = validated(
        {
            "admin": {
                "uids": [0],
                "roles": [
                    {"role": "viewer", "uids": [7], "namespaces": ["shop"]},
                    {"role": "security_officer", "spiffe_ids": [WEB]},
                ],
                "second_person": ["force", "compromised", "retire", "taint"],
                "request_lifetime": "5m",
            }
        },
        "f",
    )
    assert config.admin.request_lifetime == timedelta(minutes=5)
    assert config.admin.spiffe_ids == (WEB,)
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ({"role": "viewer"}, "admin.roles.0: names nobody"),
        (
            {"role": "viewer", "uids": [1], "namespaces": []},
            "admin.roles.0: namespaces: an empty list shows nothing",
        ),
        (
            {"role": "security_officer", "uids": [1], "namespaces": ["shop"]},
            "admin.roles.0: namespaces: a security_officer acts on roots",
        ),
        ({"role": "viewer", "uids": [-1]}, "admin.roles.0.uids.0: "),
        ({"role": "boss", "uids": [1]}, "admin.roles.0.role: "),
        ({"role": "viewer", "spiffe_ids": ["uid 0"]}, "admin.roles.0.spiffe_ids.0: expected spiffe://"),
        ({"role": "viewer", "spiffe_ids": ["spiffe://cluster.local/x"]}, "admin.roles.0.spiffe_ids.0: expected"),
    ],
    ids=["nobody", "no namespace", "officer of a namespace", "uid", "role", "not an id", "not a workload"],
)
def test_a_role_that_means_nothing_is_refused(role: dict[str, Any], expected: str) -> None:
    """With what to do."""
    assert problem({"roles": [role]}).startswith(expected)


def test_an_administrator_of_another_trust_domain_is_refused() -> None:
    """Nobody could prove to be it."""
    role = {"role": "viewer", "spiffe_ids": ["spiffe://cluster.local.evil/ns/a/sa/b"]}
    assert "cluster.local.evil/ns/a/sa/b is not in the trust domain cluster.local" in problem({"roles": [role]})
    ours = {"role": "viewer", "spiffe_ids": ["spiffe://prod.example/ns/a/sa/b"]}
    validated({"admin": {"roles": [ours]}, "trust_domain": "prod.example"}, "f")


@pytest.mark.parametrize(
    ("admin", "good"),
    [
        ({}, False),
        ({"uids": [1]}, False),
        ({"uids": [1], "roles": [{"role": "operator", "uids": [2]}]}, False),
        ({"uids": [1], "roles": [{"role": "security_officer", "uids": [1]}]}, False),
        ({"uids": [1, 2]}, True),
        ({"roles": [{"role": "security_officer", "uids": [2]}]}, True),
        ({"uids": [1], "roles": [{"role": "security_officer", "spiffe_ids": [WEB]}]}, True),
    ],
    ids=str,
)
def test_a_second_person_must_exist(admin: dict[str, Any], *, good: bool) -> None:
    """Two security officers, so that nothing waits for ever."""
    wanted = {**admin, "second_person": ["retire"]}
    if good:
        validated({"admin": wanted}, "f")
    else:
        assert problem(wanted).startswith("admin: second_person needs two security officers")


def test_a_request_waits_for_some_time() -> None:
    """Zero would be never."""
    assert problem({"request_lifetime": "0s"}) == "admin.request_lifetime: must be longer than 0s"


def test_where_workers_pass_calls_on() -> None:
    """Beside the keys, in a folder that is the server's own."""
    config = validated({"data_dir": "/srv/meshca", "listen": {"admin": "/run/a.sock"}}, "f")
    assert str(config.workers_socket) == "/srv/meshca/workers.sock"
