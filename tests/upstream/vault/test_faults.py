"""What a fault is called and says."""

from __future__ import annotations

import pytest

from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, failure, fault_of


@pytest.mark.parametrize("fault", Fault)
def test_there_and_back(fault: Fault) -> None:
    """The error of a fault says what it means, where, and what mends it, and tells the fault again."""
    error = failure(fault, "here")
    row = TABLE[fault]
    assert error.detail == f"{row.meaning} (here); {row.remedy}"
    assert (error.reason, fault_of(error)) == (f"vault_{fault.value}", fault)


def test_without_a_place() -> None:
    """No brackets when there is nothing to put into them."""
    assert failure(Fault.SEALED).detail == "the server is sealed; unseal it"


def test_long_detail() -> None:
    """A detail with the names of hostile certificates is cut, and shows no control characters."""
    words = failure(Fault.ANSWER, "\x1b[2J" + "x" * 1_000_000).detail
    assert words.isprintable()
    assert len(words) < 2500


@pytest.mark.parametrize("reason", ["sealed", "ca_folder", "vault_", "vault_other"])
def test_no_fault(reason: str) -> None:
    """An error of another room tells no fault of Vault's."""
    assert fault_of(Unavailable(reason, "x")) is None
