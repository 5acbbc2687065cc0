"""When a certificate is valid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.validity import begun, ended, spent, valid_at

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(hours=1)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(BEGIN - TICK, False, id="before"),
        pytest.param(BEGIN, True, id="first-instant"),
        pytest.param(END, True, id="last-instant"),
        pytest.param(END + TICK, False, id="after"),
    ],
)
def test_both_ends_belong_to_the_validity(now: datetime, *, expected: bool) -> None:
    """RFC 5280 section 4.1.2.5: through NotAfter, inclusive."""
    assert valid_at(BEGIN, END, now) is expected
    assert begun(BEGIN, now) is (now >= BEGIN)


def test_an_issuer_at_its_last_instant_is_valid_but_spent() -> None:
    """Nothing that begins then could live."""
    assert (ended(END, END), spent(END, END)) == (False, True)


@given(st.timedeltas(-timedelta(days=1), timedelta(days=1)))
def test_what_has_ended_is_spent_and_not_valid(offset: timedelta) -> None:
    """The three answers never contradict each other."""
    now = END + offset
    assert spent(END, now) or not ended(END, now)
    assert not (ended(END, now) and valid_at(BEGIN, END, now))
