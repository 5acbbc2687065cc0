"""The demo's policy says what the demo shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.app.demo.topology import CHARGES, INTRUDER, REFUNDS, WEB, Places, policy, spiffe_id
from meshca.config import strict_yaml


@pytest.mark.parametrize("paths", [[CHARGES], [CHARGES, REFUNDS]], ids=["at first", "edited"])
def test_the_policy_names_web_alone(paths: list[str]) -> None:
    """One rule: web's identity, GET, the paths."""
    tree = strict_yaml.load(policy(paths), "policy")
    assert isinstance(tree, dict)
    assert tree["spec"]["rules"] == [
        {
            "from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": paths}}],
        }
    ]


def test_everything_is_in_one_folder() -> None:
    """So that removing it removes everything."""
    places = Places(Path("/private"))
    found = [places.ca, places.policies, places.policy, places.of(WEB), places.of(INTRUDER)]
    assert all(path.is_relative_to("/private") for path in found)
    assert len(set(found)) == len(found)


def test_identities_are_of_the_default_trust_domain() -> None:
    """The form that the CA gives out."""
    assert str(spiffe_id(WEB)) == "spiffe://cluster.local/ns/shop/sa/web"
