"""A home with synthetic batteries, and a real MLflow server for what is trained on them."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from batteries.samples import synthetic_cell, write_mat
from models.hyperparameters import HYPERPARAMETERS
from store import imports, jobs, migrations, session
from store.descriptions import Description
from store.session import reading, transaction
from store.settings import Settings, get_settings
from store.tables import Job, JobEvent

if TYPE_CHECKING:
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import State


@pytest.fixture
def home(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_server: str,
    silent: Mapping[str, str],
    default_database: Callable[[], str | None],
) -> Iterator[Settings]:
    """Settings of a home of its own with a migrated database, on the MLflow server."""
    for name in [name for name in os.environ if name.startswith("BATTERY_") and name != "BATTERY_SHARED_DATA"]:
        monkeypatch.delenv(name)
    for name, value in silent.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BATTERY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATTERY_MLFLOW_URL", mlflow_server)
    if url := default_database():
        monkeypatch.setenv("BATTERY_DATABASE_URL", url)
    get_settings.cache_clear()
    migrations.upgrade()
    yield get_settings()
    session.reset()
    get_settings.cache_clear()


@pytest.fixture
def battery(home: Settings, tmp_path: Path) -> Callable[..., int]:
    """Import a synthetic cell, or the first cycles of its record; its id."""

    def add(seed: int = 0, cycles: int = 60, first: int | None = None) -> int:
        path = tmp_path / f"{seed}.mat"
        recording = synthetic_cell(cycles=cycles, seed=seed)
        write_mat(replace(recording, cycles=recording.cycles[:first]), path)
        with imports.incoming() as folder:
            received = folder / "received.upload"
            shutil.copyfile(path, received)
            return imports.import_upload(received, path.name, Description(nominal_capacity=1.1)).id

    return add


@pytest.fixture
def submit() -> Callable[..., int]:
    """Insert a queued job; its id."""

    def insert(battery_ids: list[int], algorithm: str = "baseline", **chosen: object) -> int:
        hyperparameters = HYPERPARAMETERS[algorithm](**{"epochs": 2, "ensemble_size": 1, **chosen})
        with transaction() as rows:
            return jobs.create(
                rows,
                algorithm=algorithm,
                battery_ids=battery_ids,
                hyperparams=hyperparameters.model_dump(),
                total_epochs=hyperparameters.epochs,
            ).id

    return insert


@pytest.fixture
def job() -> Callable[[int], Job]:
    """The job's row as it is now."""

    def read(job_id: int) -> Job:
        with reading() as rows:
            return rows.get_one(Job, job_id)

    return read


@pytest.fixture
def events() -> Callable[[int], list[JobEvent]]:
    """Every event of a job, in order."""

    def read(job_id: int) -> list[JobEvent]:
        with reading() as rows:
            return jobs.events_after(rows, job_id)

    return read


class Prefect:
    """As much of Prefect's client as flows ask that look after runs."""

    def __init__(self) -> None:
        self.runs: dict[UUID, State] = {}
        self.started: list[dict[str, object]] = []

    def add(self, state: "State") -> str:
        run_id = uuid4()
        self.runs[run_id] = state
        return str(run_id)

    def read_flow_run(self, run_id: UUID) -> SimpleNamespace:
        from prefect.exceptions import ObjectNotFound

        if run_id not in self.runs:
            raise ObjectNotFound(Exception("gone"))
        return SimpleNamespace(id=run_id, state=self.runs[run_id])

    def read_flow_runs(
        self, flow_run_filter: "FlowRunFilter", work_pool_filter: object = None
    ) -> list[SimpleNamespace]:
        """Runs of the states that the filter names; they are all of one job and in one pool."""
        of_state = flow_run_filter.state and flow_run_filter.state.type and flow_run_filter.state.type.any_
        assert of_state is None or work_pool_filter is not None
        return [
            SimpleNamespace(id=run_id, state=state, run_count=int(not (state.is_scheduled() or state.is_pending())))
            for run_id, state in self.runs.items()
            if of_state is None or state.type in of_state
        ]

    def set_flow_run_state(self, run_id: UUID, state: "State", *, force: bool) -> None:
        assert force
        self.runs[run_id] = state

    def name(self, run_id: str) -> str:
        return str(self.runs[UUID(run_id)].name)

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=name)

    def create_flow_run_from_deployment(self, deployment: str, **asked: object) -> SimpleNamespace:
        from prefect.states import Pending

        self.started.append({"deployment": deployment, **asked})
        return SimpleNamespace(id=self.add(Pending()))


@pytest.fixture
def prefect() -> Prefect:
    """Prefect's client, without any run."""
    return Prefect()
