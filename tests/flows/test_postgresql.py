"""Training with its rows on a real PostgreSQL."""

import threading

import pytest
from sqlalchemy import text

from flows import reconciling, succession, training
from store import jobs, migrations, session
from store.session import reading, transaction
from store.settings import get_settings


@pytest.fixture(autouse=True)
def on_postgresql(home, postgres, monkeypatch):
    """The home's rows are on PostgreSQL."""
    monkeypatch.setenv("BATTERY_DATABASE_URL", postgres.new_database())
    get_settings.cache_clear()
    session.reset()
    migrations.upgrade()
    assert session.engine().dialect.name == "postgresql"


class TestOnPostgresql:
    def test_a_job_becomes_a_model(self, battery, submit, job, events):
        job_id = submit([battery(seed=1), battery(seed=2)])
        assert training.run(job_id) == "succeeded"
        told = events(job_id)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        assert told[-1].type == "complete"
        assert job(job_id).model_id == told[-1].payload["model_id"]

    def test_a_stop_in_training_ends_it(self, battery, submit, job, events, eventually):
        job_id = submit([battery(seed=1), battery(seed=2)], epochs=10_000)

        def stop() -> None:
            eventually(lambda: job(job_id).current_epoch >= 1, 60, "an epoch", every=0.02)
            with transaction() as rows:
                jobs.request_stop(rows, job_id)

        user = threading.Thread(target=stop)
        user.start()
        assert training.run(job_id) == "stopped"
        user.join()
        assert (job(job_id).status, events(job_id)[-1].type) == ("stopped", "error")

    def test_of_many_that_close_a_job_at_once_one_does(self, submit, events):
        job_id = submit([1])
        closed = []

        def close(number: int) -> None:
            with transaction() as rows:
                closed.append(jobs.request_stop(rows, job_id, f"by {number}"))

        closers = [threading.Thread(target=close, args=(number,)) for number in range(12)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join()
        assert sorted(closed) == [False] * 11 + [True]
        assert [event.type for event in events(job_id)] == ["error"]

    def test_what_a_stopped_job_left_is_seen(self, submit):
        job_id = submit([1])
        (get_settings().var / "jobs" / str(job_id)).mkdir(parents=True)
        assert reconciling.leftovers() == []
        with transaction() as rows:
            jobs.request_stop(rows, job_id)
        assert reconciling.leftovers() == [job_id]
        with reading() as rows:
            assert not jobs.is_live(rows, job_id)

    def test_machines_decide_one_at_a_time_who_serves(self):
        def free() -> bool:
            with reading() as rows:
                return rows.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": succession.ADVISORY_LOCK})

        with succession.deciding():
            assert not free()
        assert free()
