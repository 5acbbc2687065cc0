"""All checks of a Vault together."""

from __future__ import annotations

from meshca.doctor.examine import examine
from meshca.doctor.finding import Verdict
from meshca.doctor.vault_checks import CHECKS, LEAF_CHECKS, SIGNING_CHECKS, checks
from tests.fakes.vault_place import FakeVault, vault_config

ROLE = {"role": "mesh-leaf"}
NOT_READABLE = {"vault-mount": Verdict.UNKNOWN}


async def test_a_vault_that_is_well() -> None:
    """Every check is ok but for the one that the least policy does not allow."""
    place = FakeVault(sign_leaves=ROLE).place()
    found = {one.name: one.verdict async for one in examine(LEAF_CHECKS, place, 10)}
    assert found == dict.fromkeys(LEAF_CHECKS, Verdict.OK) | NOT_READABLE


def test_which_there_are() -> None:
    """A leaf is signed only where Vault signs leaves, and only if signing is wanted."""
    ours, theirs = vault_config(), vault_config(sign_leaves=ROLE)
    assert checks(ours, sign=True) == SIGNING_CHECKS
    assert checks(theirs, sign=True) == LEAF_CHECKS
    assert checks(ours, sign=False) == checks(theirs, sign=False) == CHECKS


async def test_nothing_is_signed_unless_it_is_wanted() -> None:
    """The other checks change nothing at all."""
    vault = FakeVault()
    found = {one.name: one.verdict async for one in examine(CHECKS, vault.place(), 10)}
    assert found == dict.fromkeys(CHECKS, Verdict.OK) | NOT_READABLE
    assert vault.signed == 0
