"""What a prediction was asked and what else it told; and the batteries that a model learned from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add them. Models take their batteries from the jobs that are still there."""
    for column in (
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("cycle_index", sa.Integer(), nullable=True),
        sa.Column("inputs", sa.JSON(), nullable=True),
        sa.Column("feature_version", sa.Integer(), nullable=True),
        sa.Column("cached", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("forecast", sa.JSON(), nullable=True),
        sa.Column("explanation", sa.JSON(), nullable=True),
    ):
        op.add_column("predictions", column)
    op.add_column("models", sa.Column("battery_ids", sa.JSON(), nullable=True))
    op.execute("UPDATE models SET battery_ids = (SELECT battery_ids FROM jobs WHERE jobs.id = models.job_id)")
