import os
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from store import migrations
from store.session import engine
from store.settings import CHECKOUT
from store.tables import Table

UPGRADE = "from store import migrations; migrations.upgrade()"


class TestUpgrade:
    @pytest.mark.usefixtures("database")
    def test_makes_the_tables_that_the_code_declares(self):
        with engine().connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Table.metadata) == []
            assert set(Table.metadata.tables) <= set(inspect(connection).get_table_names())

    @pytest.mark.usefixtures("database")
    def test_sees_a_column_that_the_migration_does_not_make(self):
        with engine().begin() as connection:
            connection.execute(text("ALTER TABLE users ADD COLUMN extra TEXT"))
            context = MigrationContext.configure(connection)
            assert [change[0] for change in compare_metadata(context, Table.metadata)] == ["remove_column"]

    @pytest.mark.usefixtures("database")
    def test_again_changes_nothing(self):
        migrations.upgrade()
        with engine().connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_three_processes_at_once_all_succeed(self, kind, bare_home, request):
        variables = {"BATTERY_HOME": str(bare_home.home)}
        if kind == "postgresql":
            variables["BATTERY_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", UPGRADE], cwd=CHECKOUT, env=os.environ | variables, stderr=subprocess.PIPE
            )
            for _ in range(3)
        ]
        endings = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
        assert [code for _, code in endings] == [0, 0, 0], endings
