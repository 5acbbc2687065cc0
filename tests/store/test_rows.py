"""Rows hold what records say."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.record import Intent, Issuance, Outcome
from meshca.store.rows import adoption_of, adoption_row, instant, intent_row, issuance_of, micros, outcome_row
from meshca.store.schema import adoption, intent
from tests.fakes.any_records import instants, intents, outcomes, texts

_PLAIN = {str, int}


@given(instants)
def test_instants_survive(moment: datetime) -> None:
    """To the microsecond."""
    assert instant(micros(moment)) == moment


@given(intents)
def test_intents_survive(one: Intent) -> None:
    """An intent's row, without an outcome, reads as the same record."""
    assert issuance_of((*intent_row(one), None, None, None)) == Issuance(intent=one)


@given(intents, outcomes)
def test_outcomes_survive(one: Intent, outcome: Outcome) -> None:
    """An outcome's row, joined to its intent's, reads as the same record."""
    result, reason, finished_at, serial = outcome_row(outcome)
    found = issuance_of((*intent_row(one), result, reason, finished_at)).outcome
    assert found is not None
    assert (found.result, found.reason, found.finished_at, serial) == (
        outcome.result,
        outcome.reason,
        outcome.finished_at,
        outcome.serial,
    )


adoptions = st.builds(
    Adoption,
    agent=st.just(SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")),
    node_id=texts,
    pod=texts,
    kind=st.sampled_from(Kind),
    sent_version=texts,
    adopted_version=texts,
    grade=st.sampled_from(Grade),
    pending_pids=st.lists(st.integers(0, 2**31)).map(tuple),
    error=texts,
    seen_at=instants,
    connected=st.booleans(),
    worker=texts,
    stream=texts,
)


@given(adoptions)
def test_adoptions_survive(one: Adoption) -> None:
    """An adoption's row reads as the same record."""
    assert adoption_of(adoption_row(one)) == one


@given(intents, outcomes, adoptions)
def test_rows_hold_plain_values(one: Intent, outcome: Outcome, heard: Adoption) -> None:
    """The database module has a slow way for anything else, enumerations included."""
    values = (*intent_row(one), *outcome_row(outcome), *adoption_row(heard))
    assert {type(value) for value in values} <= _PLAIN


@given(intents, adoptions)
def test_rows_are_as_wide_as_their_tables(one: Intent, heard: Adoption) -> None:
    """Statements take them by position."""
    assert (len(intent_row(one)), len(adoption_row(heard))) == (len(intent.c), len(adoption.c))
