import math
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from store import jobs
from store.session import reading, transaction
from store.tables import Job, JobEvent, utc_now

pytestmark = pytest.mark.usefixtures("database")


def create(**changes) -> int:
    with transaction() as session:
        given = {"algorithm": "baseline", "battery_ids": [1], "hyperparams": {"epochs": 3}, "total_epochs": 3}
        return jobs.create(session, **(given | changes)).id


def append(job_id: int, type_: str, **payload) -> int:
    with transaction() as session:
        return jobs.append_event(session, job_id, type_, payload)


def epoch(job_id: int, number: int, train: float = 0.5, val: float = 0.6) -> int:
    return append(
        job_id,
        "progress",
        current_epoch=number,
        progress=number / 3,
        current_loss=train,
        train_loss=train,
        val_loss=val,
    )


def row(job_id: int) -> Job:
    with reading() as session:
        job = jobs.get(session, job_id)
    assert job is not None
    return job


def events(job_id: int, after: int = 0, limit: int = 500) -> list[JobEvent]:
    with reading() as session:
        return jobs.events_after(session, job_id, after, limit)


def complete(job_id: int) -> int:
    return append(job_id, "complete", model_id=9, final_metrics={"train_loss": 0.1, "val_loss": 0.2})


class TestCreate:
    def test_is_queued_with_nothing_done(self):
        job = row(create(model_name="mine"))
        assert (job.status, job.progress, job.current_epoch, job.total_epochs) == ("queued", 0.0, 0, 3)
        assert (job.model_name, job.started_at, job.finished_at, job.last_seq) == ("mine", None, None, 0)


class TestCount:
    def test_by_status(self):
        ids = [create() for _ in range(5)]
        for job_id in ids[:2]:
            complete(job_id)
        append(ids[2], "progress", current_epoch=1)
        with transaction() as session:
            jobs.request_stop(session, ids[3])
        with reading() as session:
            found = {status: jobs.count(session, status) for status in (*sorted(jobs.FINAL), *jobs.LIVE)}
            assert jobs.count(session) == 5
        assert found == {"failed": 0, "stopped": 1, "succeeded": 2, "queued": 1, "running": 1}


class TestPage:
    @pytest.mark.parametrize("offset", range(9))
    def test_is_the_same_from_either_end(self, offset):
        newest_first = [create() for _ in range(7)][::-1]
        create()
        with transaction() as session:
            jobs.request_stop(session, newest_first[0] + 1)
        with reading() as session:
            total = jobs.count(session, "queued")
            found = [job.id for job in jobs.page(session, offset, 2, total, "queued")]
        assert total == 7
        assert found == newest_first[offset : offset + 2]


class TestAppendEvent:
    def test_numbers_count_from_one_within_each_job(self):
        first, second = create(), create()
        assert [append(job, "log", level="INFO", message="x") for job in (first, first, second)] == [1, 2, 1]

    def test_the_row_follows_progress(self):
        job_id = create()
        epoch(job_id, 2, train=0.25)
        job = row(job_id)
        assert (job.status, job.current_epoch, job.current_loss, job.last_seq) == ("running", 2, 0.25, 1)
        assert job.progress == pytest.approx(2 / 3)
        assert job.started_at is not None

    def test_a_progress_message_says_everything_even_what_it_was_not_given(self):
        job_id = create()
        append(job_id, "progress", eta_seconds=4)
        assert events(job_id)[0].payload == {
            "status": "running",
            "progress": 0.0,
            "current_epoch": 0,
            "total_epochs": 3,
            "current_loss": None,
            "eta_seconds": 4,
        }

    def test_success_closes_the_job(self):
        job_id = create()
        assert complete(job_id) == 1
        job = row(job_id)
        assert (job.status, job.progress, job.model_id) == ("succeeded", 1.0, 9)
        assert job.finished_at is not None
        assert events(job_id)[0].payload["status"] == "succeeded"

    def test_failure_keeps_its_reason(self):
        job_id = create()
        append(job_id, "error", error_message="no usable windows")
        job = row(job_id)
        assert (job.status, job.error_message) == ("failed", "no usable windows")
        assert events(job_id)[0].payload == {"status": "failed", "error_message": "no usable windows"}

    def test_a_reason_may_hold_bytes_that_no_text_column_takes(self):
        job_id = create()
        append(job_id, "error", error_message="bad header: \0\0MAT")
        assert (row(job_id).status, row(job_id).error_message) == ("failed", "bad header: MAT")

    @pytest.mark.parametrize("late", ["progress", "log", "complete", "error"])
    def test_nothing_is_written_after_the_closing_event(self, late):
        job_id = create()
        append(job_id, "error", error_message="stopped", status="stopped")
        payload = {"model_id": 1, "error_message": "x", "message": "x", "progress": 1.0}
        assert append(job_id, late, **payload) == 0
        assert (row(job_id).status, len(events(job_id))) == ("stopped", 1)

    def test_a_loss_that_is_no_number_becomes_null_in_row_and_message(self):
        job_id = create()
        epoch(job_id, 1, train=math.nan)
        assert row(job_id).current_loss is None
        assert events(job_id)[0].payload["train_loss"] is None

    def test_an_error_cannot_end_a_job_as_succeeded(self):
        with pytest.raises(ValueError, match="succeeded"):
            append(create(), "error", error_message="x", status="succeeded")

    def test_an_unknown_job_is_an_error(self):
        with pytest.raises(LookupError, match="77"):
            append(77, "log", message="x")

    def test_events_of_ten_threads_have_numbers_without_a_gap(self):
        job_id = create()
        threads = [
            threading.Thread(target=lambda: [append(job_id, "log", message="x") for _ in range(5)]) for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [event.seq for event in events(job_id)] == list(range(1, 51))

    def test_of_many_closers_at_once_one_wins(self):
        job_id = create()
        closers = [
            lambda: complete(job_id),
            lambda: append(job_id, "error", error_message="failed"),
            lambda: append(job_id, "error", error_message="stopped", status="stopped"),
        ] * 4
        written: list[int] = []
        threads = [threading.Thread(target=lambda closer=closer: written.append(closer())) for closer in closers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(written) == [0] * 11 + [1]
        [closing] = events(job_id)
        assert closing.payload["status"] == row(job_id).status


class TestMarkRunning:
    def test_starts_a_queued_job_with_an_event(self):
        job_id = create()
        with transaction() as session:
            assert jobs.mark_running(session, job_id)
        assert (row(job_id).status, [event.type for event in events(job_id)]) == ("running", ["progress"])

    def test_a_resumed_job_goes_on_as_it_was(self):
        job_id = create()
        epoch(job_id, 2)
        with transaction() as session:
            assert jobs.mark_running(session, job_id)
        assert (row(job_id).current_epoch, len(events(job_id))) == (2, 1)

    def test_a_job_stopped_while_it_waited_does_not_start(self):
        job_id = create()
        with transaction() as session:
            jobs.request_stop(session, job_id)
        with transaction() as session:
            assert not jobs.mark_running(session, job_id)
        assert row(job_id).status == "stopped"


class TestRequestStop:
    def test_closes_a_live_job_at_once_and_a_finished_one_never(self):
        job_id = create()
        with transaction() as session:
            assert jobs.request_stop(session, job_id)
            assert not jobs.is_live(session, job_id)
        with transaction() as session:
            assert not jobs.request_stop(session, job_id)
        assert [event.payload["status"] for event in events(job_id)] == ["stopped"]


class TestReadingEvents:
    def test_goes_on_after_a_number_and_stops_at_the_limit(self):
        job_id = create()
        for number in range(5):
            append(job_id, "log", message=str(number))
        assert [event.payload["message"] for event in events(job_id, after=1, limit=3)] == ["1", "2", "3"]

    def test_latest_numbers_of_many_jobs(self):
        quiet, loud = create(), create()
        append(loud, "log", message="x")
        with reading() as session:
            assert jobs.latest_seqs(session, [quiet, loud, 99]) == {quiet: 0, loud: 1}

    def test_log_lines_are_the_log_alone_in_order(self):
        job_id = create()
        append(job_id, "log", level="WARNING", message="one")
        epoch(job_id, 1)
        append(job_id, "log", message="two")
        with reading() as session:
            lines = [event.payload for event in session.scalars(jobs.log_lines(job_id))]
        assert lines == [{"level": "WARNING", "message": "one"}, {"level": "INFO", "message": "two"}]


class TestMetrics:
    def test_are_one_value_an_epoch_and_the_last_one_counts(self):
        job_id = create()
        with transaction() as session:
            jobs.mark_running(session, job_id)
        epoch(job_id, 1, 0.9, 1.0)
        epoch(job_id, 2, 0.8, 0.9)
        epoch(job_id, 2, 0.7, math.inf)
        with reading() as session:
            assert jobs.metrics(session, job_id) == {
                "train_loss": [0.9, 0.7],
                "val_loss": [1.0, None],
                "epochs": [1, 2],
            }


class TestListing:
    def test_newest_first_and_by_status(self):
        ids = [create() for _ in range(3)]
        complete(ids[1])
        with reading() as session:
            assert [job.id for job in jobs.page(session, 0, 20, jobs.count(session))] == ids[::-1]
            succeeded = jobs.page(session, 0, 20, jobs.count(session, "succeeded"), "succeeded")
            assert [job.id for job in succeeded] == [ids[1]]


class TestOutbox:
    def test_holds_queued_jobs_that_prefect_was_not_given(self):
        waiting, given, stopped = create(), create(), create()
        with transaction() as session:
            jobs.set_flow_run(session, given, "run")
            jobs.request_stop(session, stopped)
        with reading() as session:
            assert [job.id for job in jobs.unsubmitted(session)] == [waiting]
            assert [job.id for job in jobs.in_flight(session)] == [given]

    def test_a_running_job_is_in_flight_even_when_nobody_noted_its_run(self):
        job_id = create()
        with transaction() as session:
            jobs.mark_running(session, job_id)
        with reading() as session:
            assert jobs.unsubmitted(session) == []
            assert [job.id for job in jobs.in_flight(session)] == [job_id]


class TestUsingBattery:
    def test_names_live_jobs_alone(self):
        live, over = create(battery_ids=[1, 2]), create(battery_ids=[2])
        complete(over)
        with reading() as session:
            assert jobs.using_battery(session, 2) == [live]
            assert jobs.using_battery(session, 3) == []


class TestForgetBefore:
    def test_takes_old_finished_jobs_with_their_events(self):
        old, live = create(), create()
        complete(old)
        append(live, "log", message="x")
        with transaction() as session:
            assert jobs.forget_before(session, utc_now() - timedelta(days=30)) == []
            assert jobs.forget_before(session, utc_now() + timedelta(seconds=1)) == [old]
        with reading() as session:
            assert list(session.scalars(select(Job.id))) == [live]
            assert list(session.scalars(select(JobEvent.job_id))) == [live]
