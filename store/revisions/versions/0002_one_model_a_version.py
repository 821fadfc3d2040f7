"""Of one algorithm and name, each version is one model."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let the database see to it."""
    op.create_index("uq_models_algorithm_name_version", "models", ["algorithm", "name", "version"], unique=True)
