"""Training jobs over HTTP: submitted, watched, stopped."""

import time
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync

from api.prefect import Prefect
from store import jobs, session
from store.tables import Job

JOB_KEYS = {
    "id",
    "status",
    "algorithm",
    "progress",
    "current_epoch",
    "total_epochs",
    "created_at",
    "started_at",
    "finished_at",
    "model_id",
}


@pytest.fixture
def ready(platform: Any, mat_file: Path) -> Any:
    """A platform with battery 1."""
    platform.upload(mat_file)
    return platform


def submit(platform: Any, **changes: Any) -> Any:
    body = {"algorithm": "bilstm", "battery_ids": [1], "hyperparams": {"epochs": 5}} | changes
    return platform.http.post("/api/v1/training-jobs", json=body)


def flow_run_of(job_id: int) -> str | None:
    with session.reading() as opened:
        return opened.get_one(Job, job_id).flow_run_id


def stop_row(job_id: int) -> None:
    with session.transaction() as opened:
        jobs.request_stop(opened, job_id)


class TestSubmit:
    def test_answers_201_with_a_queued_job(self, ready: Any) -> None:
        answer = submit(ready, hyperparams={"epochs": 100, "batch_size": 32, "learning_rate": 0.001}, model_name="mine")
        job = answer.json()
        assert answer.status_code == 201
        assert job.keys() >= JOB_KEYS
        assert {name: job[name] for name in JOB_KEYS - {"created_at"}} == {
            "id": 1,
            "status": "queued",
            "algorithm": "bilstm",
            "progress": 0.0,
            "current_epoch": 0,
            "total_epochs": 100,
            "started_at": None,
            "finished_at": None,
            "model_id": None,
        }
        assert job["hyperparams"]["hidden_size"] == 64

    def test_gives_the_job_to_prefect_at_once(self, ready: Any, eventually: Any) -> None:
        started = time.monotonic()
        submit(ready)
        (run,) = eventually(lambda: ready.prefect.of("train-model/train"), 5, "the job is with Prefect", every=0.01)
        assert time.monotonic() - started < 2
        assert run["parameters"] == {"job_id": 1}
        assert eventually(lambda: flow_run_of(1), 5, "the run is noted") == run["id"]

    def test_while_prefect_is_away_is_201_and_delivered_once_when_it_is_back(
        self, ready: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.outbox.RETRY_S", 0.05)
        ready.prefect.away = True
        assert submit(ready).status_code == 201
        assert flow_run_of(1) is None
        ready.prefect.away = False
        ready.app.state.running.outbox.nudge()
        eventually(lambda: flow_run_of(1), 10, "the job is with Prefect")
        assert len(ready.prefect.of("train-model/train")) == 1

    def test_that_prefect_refuses_holds_up_nothing_else(self, ready: Any, eventually: Any) -> None:
        ready.prefect.refused = {"job_id": 1}
        submit(ready)
        submit(ready)
        eventually(lambda: flow_run_of(2), 10, "the second job is with Prefect")
        eventually(lambda: ready.prefect.of("version-data/version-data"), 10, "a version is asked for")
        assert flow_run_of(1) is None

    def test_while_prefect_is_busy_for_a_moment_is_not_put_off(
        self, ready: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.outbox.RETRY_S", 1000)
        ready.prefect.busy = 2
        submit(ready)
        eventually(lambda: flow_run_of(1), 10, "the job is with Prefect")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"algorithm": "magic"}, "algorithm"),
            ({"battery_ids": []}, "battery_ids"),
            ({"battery_ids": ["1"]}, "battery_ids"),
            ({"battery_ids": [0]}, "battery_ids"),
            ({"hyperparams": {"epochs": 0}}, "hyperparams.epochs"),
            ({"hyperparams": {"epochs": "5"}}, "hyperparams.epochs"),
            ({"hyperparams": {"epochs": 1.5}}, "hyperparams.epochs"),
            ({"hyperparams": {"epoch": 5}}, "hyperparams.epoch"),
            ({"hyperparams": {"body": 5}}, "hyperparams.body"),
            ({"hyperparams": {"physics_weight": 0.5}}, "hyperparams.physics_weight"),
            ({"hyperparams": {"learning_rate": -0.1}}, "hyperparams.learning_rate"),
            ({"hyperparams": []}, "hyperparams"),
            ({"model_name": ""}, "model_name"),
            ({"model_name": "a\x00b"}, "model_name"),
            ({"unknown": 1}, "unknown"),
        ],
    )
    def test_that_is_not_valid_is_422_with_the_field_named(
        self, ready: Any, changes: dict[str, Any], field: str
    ) -> None:
        answer = submit(ready, **changes)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "VALIDATION_ERROR"
        assert answer.json()["error"]["details"][0]["field"] == field

    def test_with_an_unknown_hyperparameter_says_which_there_are(self, ready: Any) -> None:
        answer = submit(ready, algorithm="baseline", hyperparams={"hidden_size": 5})
        known = "epochs, batch_size, learning_rate, patience, window, seed, ensemble_size"
        assert answer.json()["error"]["details"] == [
            {"field": "hyperparams.hidden_size", "issue": f"Unknown field; there are {known}"}
        ]

    def test_with_unknown_batteries_is_404_and_names_them(self, ready: Any) -> None:
        answer = submit(ready, battery_ids=[1, 98, 99])
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "Batteries with IDs 98, 99 not found"
        assert ready.http.get("/api/v1/training-jobs").json()["meta"]["total"] == 0


class TestStop:
    def test_says_stopped_and_cancels_the_run(self, ready: Any, eventually: Any) -> None:
        submit(ready)
        run_id = eventually(lambda: flow_run_of(1), 5, "the job is with Prefect")
        ready.prefect.runs[run_id]["state"] = {"type": "RUNNING"}
        answer = ready.http.post("/api/v1/training-jobs/1/stop")
        assert answer.status_code == 200
        assert answer.json()["status"] == "stopped"
        assert answer.json()["finished_at"] is not None
        eventually(lambda: ready.prefect.states_set == [(run_id, "CANCELLING")], 5, "the run is asked to cancel")

    def test_before_it_began_cancels_at_once(self, ready: Any, eventually: Any) -> None:
        submit(ready)
        run_id = eventually(lambda: flow_run_of(1), 5, "the job is with Prefect")
        ready.http.post("/api/v1/training-jobs/1/stop")
        eventually(lambda: ready.prefect.states_set == [(run_id, "CANCELLED")], 5, "the run is cancelled")

    def test_while_prefect_is_being_asked_cancels_what_it_started(
        self, ready: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = Prefect.start

        async def stopped_meanwhile(self: Prefect, deployment: str, parameters: dict[str, Any], **options: Any) -> str:
            run_id = await start(self, deployment, parameters, **options)
            if deployment == "train-model/train":
                await run_sync(stop_row, 1)
            return run_id

        monkeypatch.setattr(Prefect, "start", stopped_meanwhile)
        submit(ready)
        eventually(lambda: ready.prefect.states_set, 5, "the run is cancelled")
        ((run_id, state),) = ready.prefect.states_set
        assert (flow_run_of(1), state) == (run_id, "CANCELLED")

    def test_before_prefect_was_asked_never_reaches_it(
        self, ready: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.outbox.RETRY_S", 0.05)
        ready.prefect.away = True
        submit(ready)
        assert ready.http.post("/api/v1/training-jobs/1/stop").status_code == 200
        ready.prefect.away = False
        submit(ready)
        eventually(lambda: flow_run_of(2), 10, "the second job is with Prefect")
        assert [run["parameters"] for run in ready.prefect.of("train-model/train")] == [{"job_id": 2}]

    def test_of_a_finished_job_is_409(self, ready: Any) -> None:
        submit(ready)
        assert ready.http.post("/api/v1/training-jobs/1/stop").status_code == 200
        answer = ready.http.post("/api/v1/training-jobs/1/stop")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "RESOURCE_CONFLICT")

    def test_of_an_unknown_job_is_404(self, ready: Any) -> None:
        assert ready.http.post("/api/v1/training-jobs/77/stop").status_code == 404


class TestWatch:
    def test_reads_progress_logs_and_metrics_from_the_events(self, ready: Any) -> None:
        job = ready.add_job([1], epochs=4)
        ready.event(job.id, "log", level="info", message="Data: 12 cycles")
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            ready.event(
                job.id,
                "progress",
                current_epoch=epoch,
                progress=epoch / 4,
                current_loss=loss,
                train_loss=loss,
                val_loss=2 * loss,
            )
        body = ready.http.get(f"/api/v1/training-jobs/{job.id}").json()
        assert (body["status"], body["progress"], body["current_epoch"]) == ("running", 0.5, 2)
        assert body["started_at"] is not None
        logs = ready.http.get(f"/api/v1/training-jobs/{job.id}/logs").json()
        assert [line["message"] for line in logs["logs"]] == ["Data: 12 cycles"]
        assert logs["logs"][0].keys() == {"timestamp", "level", "message"}
        assert logs["meta"] == {"page": 1, "page_size": 50, "total": 1, "total_pages": 1}
        metrics = ready.http.get(f"/api/v1/training-jobs/{job.id}/metrics").json()
        assert metrics == {"train_loss": [0.5, 0.25], "val_loss": [1.0, 0.5], "epochs": [1, 2]}

    def test_lists_newest_first_and_by_status(self, ready: Any) -> None:
        first, second = ready.add_job([1]), ready.add_job([1])
        ready.event(first.id, "error", error_message="no usable windows")
        listed = ready.http.get("/api/v1/training-jobs").json()
        assert [job["id"] for job in listed["items"]] == [second.id, first.id]
        failed = ready.http.get("/api/v1/training-jobs", params={"status": "failed"}).json()
        assert [(job["id"], job["error_message"]) for job in failed["items"]] == [(first.id, "no usable windows")]
        assert ready.http.get("/api/v1/training-jobs", params={"status": "lost"}).status_code == 422

    @pytest.mark.parametrize("view", ["", "/logs", "/metrics"])
    def test_of_an_unknown_job_is_404(self, ready: Any, view: str) -> None:
        answer = ready.http.get(f"/api/v1/training-jobs/999{view}")
        assert answer.json()["error"]["message"] == "Training job with ID 999 not found"
