"""Which node proxy asked for a workload's certificate; nobody did before this."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; records made before keep an empty one."""
    op.add_column("issuance_intent", sa.Column("requested_by", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drop it. Lost: which certificates' keys a node proxy holds; they look as if workloads held them."""
    op.drop_column("issuance_intent", "requested_by")
