"""The flows as they are deployed: on a real Prefect server, run by a real worker."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import requests

from launch.deployments import put_deployments
from launch.environment import stack_environment
from store import data_versions, jobs
from store.session import reading, transaction
from store.settings import Settings, get_settings


class Prefect:
    """Prefect's REST API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, method: str, path: str, **body: Any) -> Any:
        deadline = time.monotonic() + 30
        while True:  # Prefect answers 503 to what may be asked again: its SQLite was busy
            answer = requests.request(method, f"{self.url}{path}", json=body or None, timeout=30)
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        return self("GET", f"/deployments/name/{name}")

    def start(self, name: str, **parameters: object) -> str:
        return self("POST", f"/deployments/{self.deployment(name)['id']}/create_flow_run", parameters=parameters)["id"]

    def scheduled(self, name: str) -> list[dict[str, Any]]:
        of_deployment = {"id": {"any_": [self.deployment(name)["id"]]}}
        states = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        return self("POST", "/flow_runs/filter", deployments=of_deployment, flow_runs=states)

    def state(self, run_id: str) -> str:
        return self("GET", f"/flow_runs/{run_id}")["state"]["name"]


@pytest.fixture
def prefect(
    home: Settings, monkeypatch: pytest.MonkeyPatch, free_ports, eventually, servers: Callable[..., Any]
) -> Iterator[Prefect]:
    """A server with the deployments of prefect.yaml, and a worker that runs them in this home."""
    [port] = free_ports(1)
    monkeypatch.setenv("BATTERY_PREFECT_PORT", str(port))
    get_settings.cache_clear()
    settings = get_settings()
    environment = stack_environment(settings, os.environ)
    folder = home.var / "log"
    folder.mkdir(parents=True)  # var/ is made by SQLite alone
    with servers(["launch.prefect_server", "--port", str(port)], folder / "prefect.log", environment):
        eventually(lambda: answers(f"{settings.prefect}/health"), 120, "Prefect's server healthy")
        put_deployments(settings, environment)
        with servers(["launch.worker"], folder / "worker.log", environment):
            yield Prefect(settings.prefect)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def process_of(flow_run_id: str) -> int:
    """Id of the process that runs it."""
    [found] = [process.pid for process in psutil.process_iter(["environ"]) if is_of(process, flow_run_id)]
    return found


def is_of(process: psutil.Process, flow_run_id: str) -> bool:
    return (process.info["environ"] or {}).get("PREFECT__FLOW_RUN_ID") == flow_run_id


class TestDeployments:
    def test_versions_trains_and_stops_as_the_api_asks(self, prefect, battery, submit, job, events, eventually, home):
        schedules = prefect.deployment("retrain/retrain")["schedules"]
        assert [(s["slug"], s["schedule"]["cron"], s["active"]) for s in schedules] == [("nightly", "0 2 * * *", True)]
        queues = {name: prefect.deployment(name)["work_queue_name"] for name in QUEUES}
        assert queues == QUEUES
        assert not any(prefect.deployment(name)["pull_steps"] for name in QUEUES)

        eventually(lambda: prefect.scheduled("retrain/retrain"), 60, "the next nightly run scheduled")

        battery_id = battery()
        versioning = prefect.start("version-data/version-data")
        job_id, long_job_id = submit([battery_id]), submit([battery_id], epochs=10_000)
        training, long_training = (
            prefect.start("train-model/train", job_id=number) for number in (job_id, long_job_id)
        )

        eventually(lambda: prefect.state(versioning) == "Completed", 90, "the version made")
        with reading() as rows:
            assert not data_versions.is_behind(rows)

        eventually(lambda: prefect.state(training) == "Completed", 90, "the model trained")
        assert job(job_id).status == "succeeded"
        tasks = prefect("POST", "/task_runs/filter", flow_runs={"id": {"any_": [training]}})
        assert {task["name"].rsplit("-", 1)[0] for task in tasks} == STEPS

        eventually(lambda: job(long_job_id).current_epoch >= 1, 90, "the long job training")
        with transaction() as rows:
            jobs.request_stop(rows, long_job_id)
        prefect("POST", f"/flow_runs/{long_training}/set_state", state={"type": "CANCELLING"})
        eventually(lambda: prefect.state(long_training) == "Cancelled", 60, "the long run cancelled")
        assert job(long_job_id).status == "stopped"
        eventually(lambda: not (home.var / "jobs" / str(long_job_id)).exists(), 20, "its checkpoints gone")

        killed_job_id = submit([battery_id], epochs=10_000)
        first = prefect.start("train-model/train", job_id=killed_job_id)
        with transaction() as rows:
            jobs.set_flow_run(rows, killed_job_id, first)
        eventually(lambda: job(killed_job_id).current_epoch >= 3, 120, "the third job training")
        os.kill(process_of(first), signal.SIGKILL)
        eventually(lambda: job(killed_job_id).flow_run_id != first, 90, "the killed job with a new run")
        reached = job(killed_job_id).current_epoch
        eventually(lambda: job(killed_job_id).current_epoch > reached, 120, "the killed job going on")
        with transaction() as rows:
            jobs.request_stop(rows, killed_job_id)
        assert any("Resuming" in event.payload.get("message", "") for event in events(killed_job_id))

        others = [prefect.start(f"{name}/{name}") for name in ("retrain", "forget-jobs")]
        others.append(prefect.start("remove-model/remove-model", model_id=1))
        eventually(lambda: all(prefect.state(run) == "Completed" for run in others), 120, "the other flows over")


QUEUES = {
    "version-data/version-data": "data",
    "train-model/train": "training",
    "retrain/retrain": "training",
    "reconcile/reconcile": "care",
    "forget-jobs/forget-jobs": "care",
    "remove-model/remove-model": "data",
}
STEPS = {"pin data", "train", "register", "promote", "complete"}
