"""Facts about what is in force, and why a newer thing is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshca import metrics
from meshca.app.control import Configure, UseAdmission, UseAuthority, UsePolicies
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.app.ports import Address
from meshca.config.rotation import RotationConfig
from meshca.config.server import LedgerConfig, ListenConfig, LogConfig, ServerConfig, SvidConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from tests.fakes.logs import captured_logs
from tests.fakes.pki import good_material
from tests.fakes.rotation_rig import standing_of

ADDRESSES = {"token": Address(host="127.0.0.1", port=1), "mtls": Address(host="::1", port=2)}
Change = Callable[[ServerConfig], ServerConfig]


def loaded(config: ServerConfig | None = None) -> Loaded:
    """A configuration with empty files."""
    rules = UseAdmission(text="rules", source="file")
    return Loaded(
        config=config or ServerConfig(), admission=rules, policies=Policies(news=UsePolicies(files={"a": "b"}))
    )


@pytest.fixture
def in_force() -> InForce:
    """With material."""
    made = InForce(loaded(), ADDRESSES)
    made.use_standing(standing_of(good_material()))
    return made


def test_briefing_is_complete(in_force: InForce) -> None:
    """A fresh worker is told configuration, material, rules and policies, and its own name."""
    configure, _, authority, rules, policies = in_force.briefing("w3")
    assert isinstance(configure, Configure)
    assert ServerConfig.model_validate_json(configure.config) == in_force.loaded.config
    assert (configure.name, configure.token_address, configure.mtls_address) == ("w3", "127.0.0.1:1", "[::1]:2")
    assert isinstance(authority, UseAuthority)
    assert "PRIVATE KEY" in authority.key
    assert (rules, policies) == (in_force.loaded.admission, in_force.loaded.policies.news)


def test_a_fresh_worker_is_told_that_signing_is_withheld(in_force: InForce) -> None:
    """With the bundle in force, and the roots that what signs for our ports leads to."""
    material = good_material()
    in_force.use_standing(replace(standing_of(material), withheld="why", bundle="the bundle"))
    authority = in_force.authority
    assert authority is not None
    assert (authority.withheld, authority.roots) == ("why", "the bundle")
    assert authority.chain_roots == material.to_wire().roots


def test_prefixes_are_distinct_and_fit(in_force: InForce) -> None:
    """Every worker of a server has its own serial prefix of at most 15 bits, never zero."""
    prefixes = {
        message.prefix
        for n in range(128)
        for message in in_force.briefing(f"w{n}")[:1]
        if hasattr(message, "prefix")
    }
    assert len(prefixes) == 128
    assert all(1 <= prefix <= 0x7FFF for prefix in prefixes)


def _with(**changes: object) -> Change:
    return lambda config: config.model_copy(update=changes)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_with(trust_domain=TrustDomain("other")), "trust_domain"),
        (_with(listen=ListenConfig(token="127.0.0.1:9")), "listen"),
        (_with(data_dir=Path("/other")), "data_dir"),
        (_with(workers=3), "workers"),
        (_with(ledger=LedgerConfig(url="sqlite:////other.db")), "ledger.url"),
        (_with(rotation=RotationConfig(share=0.9)), "rotation"),
    ],
)
def test_needs_a_restart(in_force: InForce, change: Change, name: str) -> None:
    """A setting that cannot change while the server runs is refused by its name."""
    with pytest.raises(ConfigError) as caught:
        in_force.check_replaceable(loaded(change(ServerConfig())))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [name]


def test_needs_no_restart(in_force: InForce) -> None:
    """Lifetimes and the like can change while the server runs."""
    change = _with(
        svid=SvidConfig(), ledger=LedgerConfig(retention=timedelta(days=1)), log=LogConfig(level="error")
    )
    in_force.check_replaceable(loaded(change(ServerConfig())))


def _spoil() -> None:
    raise ConfigError("file", ["a problem"])


def test_refused_change_is_remembered_until_a_good_one(in_force: InForce) -> None:
    """A refused change is counted, logged and remembered; a good one forgets it."""
    counter = metrics.reload_failures.labels("policies")
    before = counter._value.get()
    with captured_logs() as logs:
        with in_force.changing("policies"):
            _spoil()
        assert in_force.errors == {"policies": "file: a problem"}
        with in_force.changing("policies"):
            pass
    assert in_force.errors == {}
    assert counter._value.get() == before + 1
    assert [line["event"] for line in logs] == ["reload.refused", "reload.done"]
