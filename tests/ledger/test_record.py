"""Records state facts in one spelling."""

from __future__ import annotations

import pytest

from meshca.errors import InvariantBroken
from meshca.ledger.record import Issuance, Outcome, Result
from tests.fakes.records import NOW, failed, intent, issued


@pytest.mark.parametrize("serial", ["1", "ab12", "f" * 40], ids=["one digit", "usual", "twenty octets"])
def test_serial_is_lower_case_hexadecimal(serial: str) -> None:
    """A serial of at most twenty octets is taken as it is."""
    assert intent(serial=serial).serial == serial


@pytest.mark.parametrize(
    "serial",
    ["", "0", "0ab", "AB", "a:b", "ab\n", " ab", "g", "1" + "0" * 40],
    ids=["empty", "zero", "leading zero", "upper", "colons", "newline", "space", "no digit", "too long"],
)
def test_other_spellings_of_a_serial_are_refused(serial: str) -> None:
    """A serial spelled another way would not be found again."""
    with pytest.raises(InvariantBroken) as caught:
        intent(serial=serial)
    assert caught.value.reason == "serial_spelling"


def test_an_unknown_outcome_is_not_recorded() -> None:
    """Unknown is the lack of an outcome."""
    with pytest.raises(InvariantBroken) as caught:
        Outcome(serial="a", result=Result.UNKNOWN, finished_at=NOW)
    assert caught.value.reason == "outcome_unknown"


def test_result_of_an_intent_without_outcome_is_unknown() -> None:
    """The process may have died between the two."""
    assert Issuance(intent=intent()).result is Result.UNKNOWN


def test_result_is_that_of_the_outcome() -> None:
    """An outcome decides."""
    one = intent()
    results = [Issuance(intent=one, outcome=outcome).result for outcome in (issued(one), failed(one))]
    assert results == [Result.ISSUED, Result.FAILED]
