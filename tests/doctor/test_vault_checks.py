"""All checks of a Vault together."""

from __future__ import annotations

from meshca.doctor.examine import examine
from meshca.doctor.finding import Verdict
from meshca.doctor.vault_checks import CHECKS, SIGNING_CHECKS
from tests.fakes.vault_place import FakeVault

NOT_READABLE = {"vault-mount": Verdict.UNKNOWN}


async def test_a_vault_that_is_well() -> None:
    """Every check is ok but for the one that the least policy does not allow."""
    found = {one.name: one.verdict async for one in examine(SIGNING_CHECKS, FakeVault().place(), 10)}
    assert found == dict.fromkeys(SIGNING_CHECKS, Verdict.OK) | NOT_READABLE


async def test_nothing_is_signed_unless_it_is_wanted() -> None:
    """The other checks change nothing at all."""
    vault = FakeVault()
    found = {one.name: one.verdict async for one in examine(CHECKS, vault.place(), 10)}
    assert found == dict.fromkeys(CHECKS, Verdict.OK) | NOT_READABLE
    assert vault.signed == 0
