"""Hypothesis strategies that make any lifecycle and any change, whether or not they make sense."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from meshca.authority.history import Bundle, Change, Kind, Lifecycle, Plan, Record, Request
from meshca.authority.lifecycle import Act, State
from tests.fakes.any_records import instants

# PostgreSQL cannot keep NUL in text, and no certificate, name or reason has any.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(0, 2**53)
records = st.builds(
    Record,
    id=texts,
    kind=st.sampled_from(Kind),
    state=st.sampled_from(State),
    pem=texts,
    parent=texts,
    since=instants,
    trusted_since=st.none() | instants,
    replica=texts,
)
bundles = st.builds(
    Bundle, sequence=numbers, version=texts, roots=st.lists(texts, max_size=3).map(tuple), at=instants
)
plans = st.builds(
    Plan,
    old=texts,
    new=texts,
    automatic=st.booleans(),
    paused=st.booleans(),
    compromised=st.booleans(),
    window=st.timedeltas(timedelta(), timedelta(days=400)),
    tainted_at=st.none() | instants,
    started_at=instants,
    by=texts,
    reason=texts,
)
requests = st.builds(
    Request,
    id=texts,
    act=texts,
    body=st.binary(max_size=20),
    says=texts,
    by=texts,
    reason=texts,
    at=instants,
    until=instants,
    breaks=numbers,
    urgent=st.booleans(),
    root=texts,
)
lifecycles = st.builds(
    Lifecycle,
    generation=numbers,
    records=st.lists(records, max_size=3).map(tuple),
    bundles=st.lists(bundles, max_size=3).map(tuple),
    plan=st.none() | plans,
    requests=st.lists(requests, max_size=2).map(tuple),
)
changes = st.builds(
    Change,
    generation=numbers,
    authority=texts,
    kind=st.sampled_from(Kind),
    act=st.none() | st.sampled_from(Act),
    before=st.none() | st.sampled_from(State),
    after=st.sampled_from(State),
    guard=texts,
    forced=st.booleans(),
    by=texts,
    reason=texts,
    at=instants,
)
