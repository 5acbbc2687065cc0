"""What becomes of roots and intermediates, and who asked for it; and an index to find certificates that live."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the triggers that keep every change for ever."""
    op.create_index("issuance_intent_by_end", "issuance_intent", ["not_after"])
    op.create_table(
        "lifecycle",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="lifecycle_is_one_row"),
    )
    op.create_table(
        "lifecycle_change",
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        *_texts("authority", "kind", "act", "state_before", "state_after", "guard"),
        sa.Column("forced", sa.Integer, nullable=False),
        *_texts("asked_by", "reason"),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER lifecycle_change_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON lifecycle_change "
            "FOR EACH STATEMENT EXECUTE FUNCTION meshca_append_only()"
        )
    else:
        for deed in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER lifecycle_change_no_{deed.lower()} BEFORE {deed} ON lifecycle_change "
                "BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END"
            )


def downgrade() -> None:
    """Drop them. Lost: what is known of every root and intermediate, the bundles, and the whole history."""
    op.drop_table("lifecycle_change")
    op.drop_table("lifecycle")
    op.drop_index("issuance_intent_by_end", "issuance_intent")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
