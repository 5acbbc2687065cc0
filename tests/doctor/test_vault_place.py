"""One login for all checks, and faults in the words of the table."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import unknown, wrong
from meshca.doctor.vault_place import at_fault, of
from meshca.errors import Refused, Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.vault_place import ISSUER, FakeVault


async def test_one_login_serves_all() -> None:
    """However many checks ask."""
    vault = FakeVault()
    place = vault.place()
    for _ in range(3):
        await place.visit.call("get", ISSUER)
    assert vault.logins == 1


async def test_asks_once() -> None:
    """What it sends is made for it, and nothing that failed before holds a check back."""
    vault = FakeVault()
    visit, made = vault.place().visit, list[str]()

    def body() -> dict[str, object]:
        made.append("body")
        return {}

    await visit.call("get", ISSUER, body)
    assert (made, visit.left(ISSUER)) == (["body"], 0.0)


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_has_its_words(fault: Fault) -> None:
    """What happened is found, and its remedy mends it."""
    row = TABLE[fault]
    assert at_fault(failure(fault)) == wrong(row.meaning, row.remedy)
    assert of(fault, "there") == wrong(f"{row.meaning} (there)", row.remedy)


def test_another_error() -> None:
    """It is not known to be wrong."""
    assert at_fault(Refused("other", "it cannot be")) == unknown("it cannot be")


@pytest.mark.parametrize("version", ["2.7.2", "1.17.0-rc1", "1.18.3+ent.hsm.fips1402", "1.9"])
async def test_a_version(version: str) -> None:
    """As both vendors write theirs."""
    vault = FakeVault()
    vault.health["version"] = version
    assert (await vault.place().health()).whole.text("version") == version


@pytest.mark.parametrize("version", ["latest", "2.7.2; reboot", "2.7.2\n", "2.7.2-" + "x" * 41, "2"])
async def test_no_version(version: str) -> None:
    """What is shown beside the address is no text of a hostile server's."""
    vault = FakeVault()
    vault.health["version"] = version
    with pytest.raises(Unavailable, match=r"its version is none"):
        await vault.place().health()
