import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from store import migrations, session
from store.session import Glance, inserting, reading, selecting, transaction
from store.settings import CHECKOUT
from store.tables import Battery, Job, User, utc_now


def new_job(hyperparams: dict | None = None) -> Job:
    return Job(algorithm="baseline", battery_ids=[1], hyperparams=hyperparams or {}, total_epochs=1)


@pytest.mark.usefixtures("database")
class TestTransaction:
    def test_commits_at_the_end(self):
        with transaction() as s:
            s.add(User(email="a@b.c", password_hash="x"))
        with reading() as s:
            assert s.scalar(select(User.email)) == "a@b.c"

    def test_keeps_nothing_when_an_exception_leaves_it(self):
        def fail() -> None:
            with transaction() as s:
                s.add(User(email="a@b.c", password_hash="x"))
                s.flush()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with reading() as s:
            assert s.scalar(select(func.count()).select_from(User)) == 0

    def test_rows_stay_readable_after_it(self):
        with transaction() as s:
            job = new_job()
            s.add(job)
        assert (job.id, job.status, job.created_at.tzinfo is not None) == (1, "queued", True)

    def test_a_hundred_read_modify_writes_by_ten_threads_lose_none(self):
        with transaction() as s:
            s.add(new_job())

        def count_ten() -> None:
            for _ in range(10):
                with transaction() as s:
                    job = s.get(Job, 1, with_for_update=True)
                    job.current_epoch += 1

        threads = [threading.Thread(target=count_ten) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with reading() as s:
            assert s.get(Job, 1).current_epoch == 100

    def test_nan_and_infinity_in_json_become_null(self):
        with transaction() as s:
            s.add(new_job({"a": math.nan, "b": math.inf, "c": 0.1}))
        with reading() as s:
            assert s.get(Job, 1).hyperparams == {"a": None, "b": None, "c": 0.1}

    def test_foreign_keys_are_enforced(self):
        job = new_job()
        job.user_id = 77

        def add() -> None:
            with transaction() as s:
                s.add(job)

        with pytest.raises(IntegrityError):
            add()


@pytest.mark.usefixtures("database")
class TestReading:
    def test_does_not_wait_for_a_writer_and_sees_what_was_before(self):
        writing, done = threading.Event(), threading.Event()

        def write() -> None:
            with transaction() as s:
                s.add(User(email="a@b.c", password_hash="x"))
                s.flush()
                writing.set()
                done.wait(20)

        thread = threading.Thread(target=write)
        thread.start()
        assert writing.wait(10)
        started = time.monotonic()
        with reading() as s:
            assert s.scalar(select(func.count()).select_from(User)) == 0
        assert time.monotonic() - started < 5
        done.set()
        thread.join()

    def test_keeps_no_changes(self):
        with reading() as s:
            s.add(User(email="a@b.c", password_hash="x"))
        with reading() as s:
            assert s.scalar(select(func.count()).select_from(User)) == 0


@pytest.mark.usefixtures("sqlite_home")
class TestSqlite:
    def test_connections_are_durable_and_enforce_keys(self):
        with reading() as s:
            pragmas = [s.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
        assert pragmas == ["wal", 2, 1]  # 2 is FULL

    def test_timestamps_come_back_in_utc(self):
        before = utc_now()
        with transaction() as s:
            s.add(new_job())
        with reading() as s:
            created = s.get(Job, 1).created_at
        assert before <= created <= utc_now()

    def test_a_database_in_memory_is_refused(self):
        with pytest.raises(ValueError, match="has to be a file"):
            session.make_engine(session.make_url("sqlite://"))

    def test_the_id_of_a_deleted_battery_is_never_used_again(self):
        def add() -> int:
            with transaction() as s:
                battery = Battery(
                    filename="x", sha256="0", size_bytes=1, total_cycles=1, import_report={}, feature_version=1
                )
                s.add(battery)
            return battery.id

        assert add() == 1
        with transaction() as s:
            s.delete(s.get(Battery, 1))
        assert add() == 2

    def test_a_glance_holds_nothing_that_keeps_the_log_from_being_emptied(self):
        glance = Glance()
        with transaction() as session:
            session.add_all(User(email=f"{number}@example.com", password_hash="x") for number in range(9))
        assert glance.finds("SELECT 1 FROM users", ())
        with selecting() as connection:
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        assert busy == 0

    def test_inserting_is_a_writer_from_its_beginning(self, sqlite_home):
        with inserting(), pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(sqlite_home.var / "battery.db", timeout=0).execute("BEGIN IMMEDIATE")


class TestMakePrivateFile:
    def test_no_other_account_reads_the_database_or_its_log(self, bare_home):
        before = os.umask(0o022)
        try:
            migrations.upgrade()
            with transaction() as s:
                s.add(User(email="a@b.c", password_hash="secret"))
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in bare_home.var.iterdir()}
        finally:
            os.umask(before)
        assert modes["battery.db"] == modes["battery.db-wal"] == 0o600
        assert stat.S_IMODE(bare_home.var.stat().st_mode) == 0o700

    def test_the_permissions_of_a_database_that_is_there_stay(self, tmp_path):
        path = tmp_path / "shared.db"
        path.touch(0o640)
        path.chmod(0o640)
        session.make_private_file(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.usefixtures("database")
class TestGlance:
    QUERY = "SELECT 1 FROM users WHERE email = ?"

    def test_finds_what_was_committed_here_and_by_another_process(self, database):
        glance = Glance()
        here, there = ("a@example.com",), ("b@example.com",)
        assert not glance.finds(self.QUERY, here)
        with transaction() as session:
            session.add(User(email="a@example.com", password_hash="x"))
        program = "from store.session import transaction; from store.tables import User\n"
        program += "with transaction() as s: s.add(User(email='b@example.com', password_hash='x'))"
        environment = os.environ | {"BATTERY_HOME": str(database.home)}
        subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, env=environment, check=True)
        told = database.database_url is None  # PostgreSQL is not looked at
        assert [glance.finds(self.QUERY, here), glance.finds(self.QUERY, there)] == [told, told]
        with transaction() as session:
            session.execute(delete(User))
        assert not glance.finds(self.QUERY, here)

    def test_waits_for_nobody_who_writes_and_sees_what_was_before(self, database):
        glance = Glance()
        with transaction() as session:
            session.add(User(email="a@example.com", password_hash="x"))
            session.flush()
            assert not glance.finds(self.QUERY, ("a@example.com",))

    def test_does_not_find_what_it_cannot_look_at(self, database):
        glance = Glance()
        assert not glance.finds("SELECT 1 FROM nothing", ())


@pytest.mark.usefixtures("database")
class TestInserting:
    def test_commits_at_the_end_and_keeps_nothing_when_an_exception_leaves_it(self):
        values = {"email": "a@b.c", "password_hash": "x", "created_at": utc_now()}

        def fail() -> None:
            with inserting() as connection:
                connection.execute(insert(User), values)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with selecting() as connection:
            assert connection.execute(select(User.email)).scalars().all() == []
        with inserting() as connection:
            connection.execute(insert(User), values)
        with selecting() as connection:
            assert connection.execute(select(User.email)).scalars().all() == ["a@b.c"]


@pytest.mark.usefixtures("database")
class TestSelecting:
    def test_sees_what_was_committed(self):
        with transaction() as session:
            session.add(User(email="a@example.com", password_hash="x"))
        with selecting() as connection:
            assert connection.execute(select(User.email)).scalars().all() == ["a@example.com"]
