"""What agents adopted, by stream: two streams of one name are two rows. A key is only changed by a new table."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SAME = " AND ".join(f"later.{name} = adoption.{name}" for name in ("agent", "node_id", "kind"))
_ORDER = "({0}.connected, {0}.seen_at, {0}.worker, {0}.stream)"


def upgrade() -> None:
    """Put the stream into the key. Which pod's uid and which agent of it spoke is empty until it speaks again."""
    uid, instance = (
        sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("pod_uid", "instance")
    )
    _rebuild({"agent", "node_id", "kind", "worker", "stream"}, uid, instance)


def downgrade() -> None:
    """Take it out. Lost: of streams of one name all but the one heard last of those that are open, if any is.

    The others are not told apart by the older version either.
    """
    op.execute(
        f"DELETE FROM adoption WHERE EXISTS (SELECT 1 FROM adoption AS later WHERE {_SAME} "  # noqa: S608 - our names
        f"AND {_ORDER.format('later')} > {_ORDER.format('adoption')})"
    )
    _rebuild({"agent", "node_id", "kind"})


def _rebuild(key: set[str], *more: sa.Column[str]) -> None:
    """Replace the table by one with this key and these columns more than 0004 knew."""
    texts = (
        "agent",
        "node_id",
        "kind",
        "pod",
        "sent_version",
        "adopted_version",
        "grade",
        "pending_pids",
        "error",
    )
    op.create_table(
        "adoption_rebuilt",
        *(sa.Column(name, sa.Text, primary_key=name in key, nullable=False) for name in texts),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("connected", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, primary_key=name in key, nullable=False) for name in ("worker", "stream")),
        sa.Column("leaf", sa.Text, nullable=False, server_default=""),
        *more,
    )
    columns = ", ".join((*texts, "seen_at", "connected", "worker", "stream", "leaf"))
    op.execute(f"INSERT INTO adoption_rebuilt ({columns}) SELECT {columns} FROM adoption")  # noqa: S608 - our names
    op.drop_table("adoption")
    op.rename_table("adoption_rebuilt", "adoption")
    op.create_index("adoption_by_stream", "adoption", ["worker", "stream"])
