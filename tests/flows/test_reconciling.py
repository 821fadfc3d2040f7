from datetime import timedelta
from uuid import UUID

import pytest
from prefect.states import Cancelled, Completed, Crashed, Pending, Running, Scheduled, State

from flows import claiming, publishing, reconciling
from models.registry import Registry
from store import jobs
from store.session import reading, transaction
from store.tables import Job, utc_now


@pytest.fixture
def running(home, submit, prefect):
    """A running job whose run Prefect has in this state."""

    def make(state: State) -> Job:
        job_id = submit([1])
        with transaction() as rows:
            jobs.mark_running(rows, job_id)
            jobs.set_flow_run(rows, job_id, prefect.add(state))
        with reading() as rows:
            return rows.get_one(Job, job_id)

    return make


class TestIsAbandoned:
    @pytest.mark.parametrize("state", [Crashed(), Completed()])
    def test_a_live_job_whose_run_is_over(self, state, prefect, running):
        assert reconciling.is_abandoned(prefect, running(state))

    def test_a_run_that_prefect_forgot(self, prefect, running):
        job = running(Running())
        prefect.runs.clear()
        assert reconciling.is_abandoned(prefect, job)

    def test_a_run_that_goes_on_here_with_nobody_holding_its_lock(self, prefect, running):
        job = running(Running(timestamp=utc_now() - timedelta(minutes=1)))
        assert not reconciling.is_abandoned(prefect, job)  # it may run on another machine
        with claiming.held(job.id, 0):
            assert not reconciling.is_abandoned(prefect, job)
        assert reconciling.is_abandoned(prefect, job)

    def test_a_living_process_is_believed_whatever_prefect_says(self, prefect, running):
        job = running(Crashed())
        with claiming.held(job.id, 0):
            assert not reconciling.is_abandoned(prefect, job)

    @pytest.mark.parametrize("state", [Scheduled, Pending, Running])
    def test_not_one_that_was_just_given_another_run(self, state, prefect, running):
        job = running(state())
        with claiming.held(job.id, 0):
            pass  # the first process was here, and died
        assert not reconciling.is_abandoned(prefect, job)

    @pytest.mark.parametrize(("minutes", "abandoned"), [(4, False), (6, True)])
    def test_a_start_that_takes_minutes(self, minutes, abandoned, prefect, running):
        state = Pending(timestamp=utc_now() - timedelta(minutes=minutes))
        assert reconciling.is_abandoned(prefect, running(state)) == abandoned

    def test_one_whose_run_nobody_noted_is_judged_by_its_lock(self, prefect, running):
        job = running(Running())
        job.flow_run_id = None
        assert not reconciling.is_abandoned(prefect, job)
        with claiming.held(job.id, 0):
            assert not reconciling.is_abandoned(prefect, job)
        assert reconciling.is_abandoned(prefect, job)


class TestHandOn:
    def test_gives_the_job_another_run(self, prefect, running, job, events):
        abandoned = running(Crashed())
        reconciling.hand_on(prefect, abandoned)
        [started] = prefect.started
        assert (started["deployment"], started["parameters"]) == ("train-model/train", {"job_id": abandoned.id})
        assert job(abandoned.id).flow_run_id == str(list(prefect.runs)[-1])
        assert job(abandoned.id).status == "running"
        assert events(abandoned.id)[-1].payload["level"] == "WARNING"

    def test_closes_a_run_that_prefect_believes_in(self, prefect, running):
        abandoned = running(Running())
        reconciling.hand_on(prefect, abandoned)
        assert prefect.runs[UUID(abandoned.flow_run_id)].is_crashed()

    def test_fails_a_job_that_ended_its_process_three_times(self, prefect, running, job):
        abandoned = running(Crashed())
        for _ in range(2):
            prefect.add(Crashed())
        reconciling.hand_on(prefect, abandoned)
        assert prefect.started == []
        assert job(abandoned.id).status == "failed"
        assert "3 times" in job(abandoned.id).error_message

    def test_runs_that_never_began_are_no_attempts(self, prefect, running):
        abandoned = running(Crashed())
        for _ in range(2):
            prefect.add(Scheduled())
        reconciling.hand_on(prefect, abandoned)
        assert len(prefect.started) == 1

    def test_an_epoch_between_makes_earlier_runs_no_attempts(self, prefect, running, monkeypatch):
        abandoned = running(Crashed())
        with transaction() as rows:
            jobs.append_event(rows, abandoned.id, "progress", {"current_epoch": 1, "train_loss": 0.5})
            abandoned = jobs.get(rows, abandoned.id)
        asked = []
        read = prefect.read_flow_runs
        monkeypatch.setattr(
            prefect, "read_flow_runs", lambda flow_run_filter: asked.append(flow_run_filter) or read(flow_run_filter)
        )
        reconciling.hand_on(prefect, abandoned)
        with reading() as rows:
            told = jobs.newest_progress(rows, abandoned.id).created_at
        assert asked[0].expected_start_time.after_ == told - timedelta(seconds=1)

    def test_two_reconcilers_at_once_ask_for_the_same_run(self, prefect, running):
        abandoned = running(Crashed())
        for _ in range(2):
            reconciling.hand_on(prefect, abandoned)
        keys = [started["idempotency_key"] for started in prefect.started]
        assert keys == [keys[0]] * 2
        assert abandoned.flow_run_id in keys[0]

    def test_stops_a_job_that_was_cancelled_in_prefect(self, prefect, running, job):
        cancelled = running(Cancelled())
        reconciling.hand_on(prefect, cancelled)
        assert prefect.started == []
        assert job(cancelled.id).status == "stopped"

    def test_leaves_a_job_that_was_over_a_moment_later(self, prefect, running):
        abandoned = running(Completed())
        with transaction() as rows:
            jobs.request_stop(rows, abandoned.id)
        reconciling.hand_on(prefect, abandoned)
        assert prefect.started == []


class TestIsNeeded:
    def test_by_a_job_of_nobody(self, prefect, running):
        assert not reconciling.is_needed(prefect)
        running(Crashed())
        assert reconciling.is_needed(prefect)

    @pytest.mark.parametrize("answers", [True, False])
    def test_by_what_a_job_left_while_mlflow_answers(self, answers, prefect, running, monkeypatch):
        monkeypatch.setattr(publishing, "mlflow_answers", lambda: answers)
        job = running(Running())
        with claiming.held(job.id, 0), transaction() as rows:
            jobs.request_stop(rows, job.id)
        assert reconciling.is_needed(prefect) == answers


class TestClearLeftovers:
    def test_closes_the_mlflow_run_of_a_stopped_job_that_was_killed_in_ending(self, home, running):
        job = running(Running())
        registry = Registry(home.mlflow, home.var / "reading")
        run_id = registry.start_run("baseline", "test", {}, {})
        with claiming.held(job.id, 0), transaction() as rows:
            jobs.set_mlflow_run(rows, job.id, run_id)
            jobs.request_stop(rows, job.id)
        reconciling.clear_leftovers()
        assert registry.client.get_run(run_id).info.status == "KILLED"
        assert not claiming.folder(job.id).exists()

    def test_one_that_cannot_be_cleared_does_not_keep_the_others(self, running, monkeypatch):
        first, second = running(Running()), running(Running())
        for job in (first, second):
            with claiming.held(job.id, 0), transaction() as rows:
                jobs.request_stop(rows, job.id)
        with transaction() as rows:
            jobs.set_mlflow_run(rows, second.id, "1" * 32)  # MLflow knows no such run: there is nothing to close
        clear = reconciling.clear

        def clear_with_mlflow_away_at_first(job_id: int) -> None:
            if job_id == first.id:
                raise ConnectionError("MLflow is away")
            clear(job_id)

        monkeypatch.setattr(reconciling, "clear", clear_with_mlflow_away_at_first)
        with pytest.raises(ExceptionGroup):
            reconciling.clear_leftovers()
        assert claiming.folder(first.id).exists()
        assert not claiming.folder(second.id).exists()

    def test_keeps_what_a_live_job_needs_to_resume(self, running):
        job = running(Crashed())
        with claiming.held(job.id, 0):
            pass
        reconciling.clear_leftovers()
        assert claiming.folder(job.id).exists()
