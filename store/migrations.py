"""Brings the database to the tables of this version of the platform (Alembic, called from code)."""

from pathlib import Path

from sqlalchemy import Connection, text

from store.session import WRITES, engine

REVISIONS = Path(__file__).parent / "revisions"
ADVISORY_LOCK = 0x62617474  # any number, the same in every process of the platform


def upgrade() -> None:
    """Make or change the tables as needed. Safe when several processes start at once: one works, the others wait.

    Everything happens in one transaction: a migration that fails leaves the database as it was.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(REVISIONS).replace("%", "%%"))
    with engine().execution_options(**{WRITES: True}).begin() as connection:
        wait_for_turn(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def wait_for_turn(connection: Connection) -> None:
    """Hold the right to migrate until the transaction ends. SQLite's writers wait for each other anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
