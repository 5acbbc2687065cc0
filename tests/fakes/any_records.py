"""Hypothesis strategies that make any ledger record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from meshca.ledger.record import Intent, Outcome, Result

instants = st.timedeltas(timedelta(), timedelta(days=80_000)).map(
    lambda age: datetime(1970, 1, 1, tzinfo=UTC) + age
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
serials = st.integers(min_value=1, max_value=2**128 - 1).map(lambda number: f"{number:x}")
intents = st.builds(
    Intent,
    request_id=texts,
    serial=serials,
    spiffe_id=texts,
    proven_by=texts,
    issuer=texts,
    namespace=texts,
    service_account=texts,
    pod_name=texts,
    pod_uid=texts,
    node_name=texts,
    node_uid=texts,
    token_id=texts,
    proven_at=instants,
    parent_serial=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    key_type=texts,
    key_sha256=texts,
    csr_sha256=texts,
    signer=texts,
    rule=texts,
    intended_at=instants,
    not_before=instants,
    not_after=instants,
    requested_by=texts,
)
results = st.sampled_from([Result.ISSUED, Result.FAILED])
outcomes = st.builds(Outcome, serial=serials, result=results, reason=texts, finished_at=instants)
