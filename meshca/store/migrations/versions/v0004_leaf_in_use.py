"""Which certificate each agent says is in force; nobody did before this."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; it is empty until an agent says it."""
    op.add_column("adoption", sa.Column("leaf", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drop it. Lost: nothing for long; agents say it again when they connect to a server that asks."""
    op.drop_column("adoption", "leaf")
