"""What is known of each cycle beside its capacity; null in rows of earlier releases until they are computed again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBERS = (
    "charge_capacity_ah",
    "energy_wh",
    "charge_energy_wh",
    "coulombic_efficiency",
    "duration_s",
    "mean_temperature_c",
    "max_temperature_c",
    "internal_resistance_ohm",
    "c_rate",
)


def upgrade() -> None:
    """Add them. No table is copied: a column that may be null costs no database anything."""
    for name in NUMBERS:
        op.add_column("cycles", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("cycles", sa.Column("complete", sa.Boolean(), nullable=True))
