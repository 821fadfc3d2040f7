"""A home with synthetic batteries, and a real MLflow server for what is trained on them."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from batteries.samples import synthetic_cell, write_mat
from models.hyperparameters import HYPERPARAMETERS
from store import imports, jobs, migrations, session
from store.descriptions import Description
from store.session import reading, transaction
from store.settings import Settings, get_settings
from store.tables import Job, JobEvent


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
    """Import a synthetic cell; its id."""

    def add(seed: int = 0, cycles: int = 60) -> int:
        path = tmp_path / f"{seed}.mat"
        write_mat(synthetic_cell(cycles=cycles, seed=seed), path)
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
