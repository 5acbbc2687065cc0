"""The tables, as SQLAlchemy knows them: the one place that names columns and types.

Migrations build the same tables step by step; a test compares the two. Only types that SQLite and PostgreSQL
share: text, whole numbers; instants are whole microseconds since 1970 in UTC.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, Table, Text

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _instant(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


intent = Table(
    "issuance_intent",
    metadata,
    Column("serial", Text, primary_key=True, nullable=False),
    _text("request_id"),
    _text("spiffe_id"),
    _text("proven_by"),
    _text("issuer"),
    _text("namespace"),
    _text("service_account"),
    _text("pod_name"),
    _text("pod_uid"),
    _text("node_name"),
    _text("node_uid"),
    _text("token_id"),
    _instant("proven_at"),
    _text("parent_serial"),
    _text("labels"),  # a JSON object
    _text("key_type"),
    _text("key_sha256"),
    _text("csr_sha256"),
    _text("signer"),
    _text("rule"),
    _instant("intended_at"),
    _instant("not_before"),
    _instant("not_after"),
    Column("requested_by", Text, nullable=False, server_default=""),  # since 0002
    # Indexes that grow at few places, so that a batch of inserts touches few pages. An identity implies its
    # namespace, so the second serves both filters. The third finds what lives among many that have ended.
    Index("issuance_intent_by_time", "intended_at"),
    Index("issuance_intent_by_namespace", "namespace", "intended_at"),
    Index("issuance_intent_by_end", "not_after"),  # since 0003
)

outcome = Table(
    "issuance_outcome",
    metadata,
    Column("serial", Text, primary_key=True, nullable=False),
    _text("result"),
    _text("reason"),
    _instant("finished_at"),
    sqlite_with_rowid=False,  # small rows: one B-tree instead of two
)

adoption = Table(
    "adoption",
    metadata,
    Column("agent", Text, primary_key=True, nullable=False),
    Column("node_id", Text, primary_key=True, nullable=False),
    Column("kind", Text, primary_key=True, nullable=False),
    _text("pod"),
    _text("sent_version"),
    _text("adopted_version"),
    _text("grade"),
    _text("pending_pids"),  # a JSON array
    _text("error"),
    _instant("seen_at"),
    Column("connected", Integer, nullable=False),
    Column("worker", Text, primary_key=True, nullable=False),  # in the key since 0005, and the stream
    Column("stream", Text, primary_key=True, nullable=False),
    Column("leaf", Text, nullable=False, server_default=""),  # since 0004
    Column("pod_uid", Text, nullable=False, server_default=""),  # since 0005
    Column("instance", Text, nullable=False, server_default=""),  # since 0005
    Index("adoption_by_stream", "worker", "stream"),
)

probe = Table(
    "probe",
    metadata,
    Column("instance", Text, primary_key=True, nullable=False),
    _instant("sequence"),
    _instant("written_at"),
)

# Since 0003.
lifecycle = Table(
    "lifecycle",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("generation", BigInteger, nullable=False),
    _text("body"),  # a JSON object, see `lifecycle_rows`
    CheckConstraint("id = 1", name="lifecycle_is_one_row"),
)

lifecycle_change = Table(
    "lifecycle_change",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False, nullable=False),
    _text("authority"),
    _text("kind"),
    _text("act"),  # empty for one that was made
    _text("state_before"),  # empty for one that was made
    _text("state_after"),
    _text("guard"),
    Column("forced", Integer, nullable=False),
    _text("asked_by"),
    _text("reason"),
    _instant("changed_at"),
)
