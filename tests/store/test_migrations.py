import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from store import migrations
from store.session import WRITES, engine, reading
from store.settings import CHECKOUT, get_settings
from store.tables import Battery, CycleRow, Table

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


class TestUpgradeOfAnEarlierRelease:
    """A database of revision 0002 with a battery in it."""

    @pytest.fixture(params=["sqlite", "postgresql"])
    def earlier(self, request, bare_home, monkeypatch):
        if request.param == "postgresql":
            monkeypatch.setenv("BATTERY_DATABASE_URL", request.getfixturevalue("postgres").new_database())
            get_settings.cache_clear()
        migrations.upgrade("0002")
        with engine().execution_options(**{WRITES: True}).begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO batteries (id, filename, sha256, size_bytes, total_cycles, import_report,"
                    " feature_version, created_at, updated_at) VALUES (7, 'a.mat', 'ab', 1, 2, '{}', 1, :now, :now)"
                ),
                {"now": "2026-01-02 03:04:05"},
            )
            connection.execute(
                text(
                    "INSERT INTO cycles (battery_id, position, cycle_index, capacity_ah, soh, rul)"
                    " VALUES (7, 0, 1, 1.05, 0.95, 3.0), (7, 1, 2, NULL, NULL, NULL)"
                )
            )
        return bare_home

    @pytest.mark.usefixtures("earlier")
    def test_keeps_its_rows_and_knows_nothing_new_of_them(self):
        migrations.upgrade()
        with reading() as session:
            battery = session.get_one(Battery, 7)
            first, second = session.scalars(select(CycleRow).order_by(CycleRow.position))
        assert (battery.filename, battery.created_at) == ("a.mat", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        assert (first.cycle_index, first.capacity_ah, first.soh, first.rul) == (1, 1.05, 0.95, 3.0)
        assert second.capacity_ah is None
        assert (first.energy_wh, first.complete, second.c_rate) == (None, None, None)

    @pytest.mark.usefixtures("earlier")
    def test_makes_the_tables_that_the_code_declares(self):
        migrations.upgrade()
        with engine().connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Table.metadata) == []
