"""From SQLite to PostgreSQL, and from a PostgreSQL that was backed up to a new one."""

import subprocess
import sys

import pytest
from sqlalchemy import make_url, select

from store import jobs, session, users
from store.copying import NotEmpty, copy_rows
from store.session import make_engine
from store.settings import get_settings
from store.tables import Table


@pytest.fixture
def filled(sqlite_home, upload, version_now):
    """URL of a SQLite database with a battery in a data version, an account, and jobs of which the newest is gone."""
    upload(nominal_capacity=1.1)
    version_now()
    with session.transaction() as rows:
        user = users.add(rows, "user@example.com", "secretpassword")
        for number in range(3):
            created = {"battery_ids": [1], "hyperparams": {"epochs": 3}, "total_epochs": 3, "user_id": user.id}
            job = jobs.create(rows, algorithm="baseline", **created)
            jobs.append_event(rows, job.id, "log", {"level": "INFO", "message": f"line {number}"})
            jobs.append_event(rows, job.id, "error", {"error_message": "none"})
        rows.delete(rows.get_one(jobs.Job, 3))
    session.reset()
    return sqlite_home.database


def contents(url: str) -> dict[str, list[dict]]:
    """Every row of every table."""
    engine = make_engine(make_url(url))
    try:
        with engine.connect() as connection:
            return {
                table.name: sorted((dict(row) for row in connection.execute(select(table)).mappings()), key=str)
                for table in Table.metadata.sorted_tables
            }
    finally:
        engine.dispose()


def new_job(url: str, monkeypatch) -> int:
    """Id of a job made on this database."""
    monkeypatch.setenv("BATTERY_DATABASE_URL", url)
    get_settings.cache_clear()
    session.reset()
    with session.transaction() as rows:
        return jobs.create(rows, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=1).id


class TestCopyRows:
    def test_everything_comes_over_and_numbers_go_on(self, filled, postgres, monkeypatch):
        target = postgres.new_database()
        said = []
        copied = copy_rows(filled, target, said.append)
        assert contents(target) == contents(filled)
        assert {name: copied[name] for name in ("batteries", "cycles", "jobs", "job_events", "users")} == {
            "batteries": 1,
            "cycles": 30,
            "jobs": 2,
            "job_events": 4,
            "users": 1,
        }
        assert "jobs: 2 rows" in said
        assert new_job(target, monkeypatch) == 4  # 3 was given before, and is never given again

    def test_a_database_with_rows_is_left_alone(self, filled, postgres):
        target = postgres.new_database()
        copy_rows(filled, target, print)
        before = contents(target)
        with pytest.raises(NotEmpty, match="empty database"):
            copy_rows(filled, target, print)
        assert contents(target) == before

    def test_from_the_command_line(self, filled, postgres):
        target = postgres.new_database()
        command = [sys.executable, "-m", "launch", "database", "copy", target]
        for status, told in ((0, "rows copied; now set BATTERY_DATABASE_URL"), (1, "an empty database is needed")):
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == status, done.stderr
            assert told in done.stdout + done.stderr
        assert contents(target) == contents(filled)


class TestBackup:
    def test_what_was_dumped_is_restored(self, filled, postgres, monkeypatch):
        source, target = postgres.new_database(), postgres.new_database()
        copy_rows(filled, source, print)
        before = contents(source)
        names = [make_url(url).database for url in (source, target)]
        at = ("-h", str(postgres.folder), "-U", "postgres")
        postgres.run("pg_dump", *at, "--format=custom", "--file=rows.dump", names[0])
        assert new_job(source, monkeypatch) == 4  # after the backup
        postgres.run("pg_restore", *at, "--exit-on-error", f"--dbname={names[1]}", "rows.dump")
        assert contents(target) == before
        assert new_job(target, monkeypatch) == 4
