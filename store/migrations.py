"""Brings the database to the tables of this version of the platform (Alembic, called from code)."""

from pathlib import Path

from sqlalchemy import Engine

from store.session import WRITES, engine, wait_for_turn

REVISIONS = Path(__file__).parent / "revisions"
ADVISORY_LOCK = 0x62617474  # any number, the same in every process of the platform


def upgrade(revision: str = "head", database: Engine | None = None) -> None:
    """Make or change the tables as needed, of the database of the settings if no other is given.

    Safe when several processes start at once: one works, the others wait.

    Everything happens in one transaction: a migration that fails leaves the database as it was.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(REVISIONS).replace("%", "%%"))
    with (database or engine()).execution_options(**{WRITES: True}).begin() as connection:
        wait_for_turn(connection, ADVISORY_LOCK)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
