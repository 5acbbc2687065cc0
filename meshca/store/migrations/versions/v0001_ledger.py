"""The first tables: issuance, adoption and the probe."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them, and the triggers that make records unchangeable."""
    op.create_table(
        "issuance_intent",
        sa.Column("serial", sa.Text, primary_key=True, nullable=False),
        *_texts("request_id", "spiffe_id", "proven_by", "issuer", "namespace", "service_account"),
        *_texts("pod_name", "pod_uid", "node_name", "node_uid", "token_id"),
        *_instants("proven_at"),
        *_texts("parent_serial", "labels", "key_type", "key_sha256", "csr_sha256", "signer", "rule"),
        *_instants("intended_at", "not_before", "not_after"),
    )
    op.create_index("issuance_intent_by_time", "issuance_intent", ["intended_at"])
    op.create_index("issuance_intent_by_namespace", "issuance_intent", ["namespace", "intended_at"])
    op.create_table(
        "issuance_outcome",
        sa.Column("serial", sa.Text, primary_key=True, nullable=False),
        *_texts("result", "reason"),
        *_instants("finished_at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "adoption",
        *(sa.Column(name, sa.Text, primary_key=True, nullable=False) for name in ("agent", "node_id", "kind")),
        *_texts("pod", "sent_version", "adopted_version", "grade", "pending_pids", "error"),
        *_instants("seen_at"),
        sa.Column("connected", sa.Integer, nullable=False),
        *_texts("worker", "stream"),
    )
    op.create_index("adoption_by_stream", "adoption", ["worker", "stream"])
    op.create_table(
        "probe",
        sa.Column("instance", sa.Text, primary_key=True, nullable=False),
        *_instants("sequence", "written_at"),
    )
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION meshca_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    for table in ("issuance_intent", "issuance_outcome"):
        op.execute(_append_only(table, dialect))


def downgrade() -> None:
    """Drop them. Lost: everything."""
    for table in ("probe", "adoption", "issuance_outcome", "issuance_intent"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION meshca_append_only()")


def _append_only(table: str, dialect: str) -> str:
    if dialect == "postgresql":
        return (
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION meshca_append_only()"
        )
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _instants(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
