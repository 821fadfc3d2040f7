"""kill -9 at random moments: no job is lost or stuck, nothing that a client was told of is missing."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import requests

HEALTHY_WITHIN_S = 240
OVER_WITHIN_S = 240
TIDY_WITHIN_S = 120
OVER = {"succeeded", "failed", "stopped"}
PARTS = {"worker": "worker", "Prefect server": "prefect", "MLflow": "mlflow", "API": "api"}
MOMENTS_S = 8.0  # after its process began
EPOCHS = 40


def await_moment(stack, client, job_id, chance, eventually):
    """Half of the moments lie in the first seconds of the job, wherever it is then, half at one of its epochs."""
    if chance.random() < 0.5:
        eventually(stack.training, 120, "a training process", every=0.05)
        time.sleep(chance.uniform(0, MOMENTS_S))
        return
    epoch = chance.randrange(1, EPOCHS)

    def is_there():
        job = client.get(f"/training-jobs/{job_id}")
        return job["current_epoch"] >= epoch or job["status"] in OVER

    eventually(is_there, 180, f"epoch {epoch}", every=0.05)


def kill(stack, kind, eventually):
    """SIGKILL."""
    if kind == "training process":
        for process in stack.training():  # it may be over by now: that is a moment too
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    elif kind == "whole stack":
        stack.kill_all()
        stack.start()
    else:
        os.kill(eventually(lambda: stack.part(PARTS[kind]), 60, f"a process of {kind}"), signal.SIGKILL)


def check_log(messages, job):
    """One history: numbered without a gap, every epoch once and in order, one end and nothing after it."""
    assert [seq for seq, _, _ in messages] == list(range(1, len(messages) + 1))
    epochs = [payload["current_epoch"] for _, kind, payload in messages if "train_loss" in payload]
    assert epochs == list(range(1, len(epochs) + 1))
    ends = [kind for _, kind, _ in messages if kind in {"complete", "error"}]
    assert ends == [messages[-1][1]]
    assert (job["status"] == "succeeded") == (ends == ["complete"])


@pytest.fixture
def damaged(fault_stack: Any) -> Callable[[], list[str]]:
    """What SQLite finds wrong in the databases of the platform, MLflow and Prefect."""

    def check() -> list[str]:
        var = fault_stack.home / "var"
        found = []
        for path in (var / "battery.db", var / "mlflow.db", var / "prefect" / "prefect.db"):
            database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
            try:
                said = [row[0] for row in database.execute("PRAGMA integrity_check")]
                found += [f"{path.name}: {line}" for line in said if line != "ok"]
                if path.name == "battery.db":
                    found += [f"{path.name}: {row}" for row in database.execute("PRAGMA foreign_key_check")]
            finally:
                database.close()
        return found

    return check


@pytest.fixture
def unfinished(fault_stack: Any) -> Callable[[], list[str]]:
    """What seems to go on although every job is over: runs of MLflow and Prefect, folders, processes."""

    def look() -> list[str]:
        found = [f"process {process.pid}" for process in fault_stack.training()]
        found += [f"folder {folder.name}" for folder in (fault_stack.home / "var" / "jobs").glob("*")]
        try:
            runs = requests.post(
                f"{fault_stack.prefect}/flow_runs/filter",
                json={"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}},
                timeout=20,
            ).json()
            of_jobs = [run for run in runs if run["name"].startswith("job-")]  # others come and go with each upload
            found += [f"Prefect's run {run['name']} is {run['state']['name']}" for run in of_jobs]
            experiments = requests.get(
                f"{fault_stack.mlflow}/api/2.0/mlflow/experiments/get-by-name",
                params={"experiment_name": "battery-life"},
                timeout=20,
            ).json()
            asked = {"experiment_ids": [experiments["experiment"]["experiment_id"]], "max_results": 1000}
            runs = requests.post(f"{fault_stack.mlflow}/api/2.0/mlflow/runs/search", json=asked, timeout=20).json()
            found += [r["info"]["run_name"] for r in runs.get("runs", []) if r["info"]["status"] == "RUNNING"]
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            found.append(f"not asked: {json.dumps(str(error))}")
        return found

    return look


@pytest.fixture
def history(fault_stack):
    """A job's events as the database has them: number, type, payload."""
    import orjson

    def read(job_id):
        database = sqlite3.connect(f"file:{fault_stack.home / 'var' / 'battery.db'}?mode=ro", uri=True, timeout=60)
        try:
            query = "SELECT seq, type, payload FROM job_events WHERE job_id = ? ORDER BY seq"
            return [(seq, kind, orjson.loads(payload)) for seq, kind, payload in database.execute(query, (job_id,))]
        finally:
            database.close()

    return read


@pytest.mark.timeout(900)
class TestFaults:
    def test_nothing_is_lost(
        self, fault, seed, fault_stack, client, history, damaged, unfinished, report, outcome, eventually
    ):
        number, kind = fault
        chance = random.Random(f"{seed}-{number}")  # noqa: S311 - moments, no secrets
        first, second = sorted(client.told.batteries)[:2]
        job_id = client.submit([first, second], epochs=EPOCHS, patience=EPOCHS, batch_size=4, ensemble_size=2)
        with client.at_work(first):
            await_moment(fault_stack, client, job_id, chance, eventually)
            kill(fault_stack, kind, eventually)
            killed, moment = time.monotonic(), time.time()
            eventually(lambda: fault_stack.works(moment), HEALTHY_WITHIN_S, f"all works after {kind}", every=0.5)
            back_s = time.monotonic() - killed
            eventually(
                lambda: client.get(f"/training-jobs/{job_id}")["status"] in OVER, OVER_WITHIN_S, "the job over", every=1
            )
            over_s = time.monotonic() - killed

        job = client.get(f"/training-jobs/{job_id}")
        told = history(job_id)
        assert job["status"] in {"succeeded", "failed"}, job
        assert job["status"] == "succeeded" or len(job["error_message"].split()) >= 4, job
        check_log(told, job)
        if job["model_id"]:
            client.told.models.add(job["model_id"])

        missing = {
            f"{noun} {number}"
            for noun in ("batteries", "models", "predictions")
            for number in getattr(client.told, noun) - client.ids(f"/{noun}")
        } | {f"job {number}" for number in client.told.jobs - client.ids("/training-jobs")}
        resumed = any(payload.get("message", "").startswith("Going on after") for _, _, payload in told)
        report(outcome(kind, job["status"], resumed, back_s, over_s, len(missing)))
        assert not missing
        assert damaged() == []
        eventually(lambda: not unfinished(), TIDY_WITHIN_S, f"nothing left of the job, but {unfinished()}", every=1)
