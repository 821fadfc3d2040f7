"""Rows of registered models, and how their versions count."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, select
from sqlalchemy.orm import Session

from store.jobs import LIVE
from store.session import wait_for_turn
from store.tables import Job, Model, utc_now

ADVISORY_LOCK = 0x6D6F646C  # any number, the same in every process of the platform, and no other lock's
FIRST_VERSION = "1.0.0"
SHAPE = ("hidden_size", "window", "ensemble_size")  # hyperparameters that change the network itself


def register(
    session: Session,
    job: Job,
    *,
    mlflow_version: str,
    mlflow_run_id: str,
    artifact_path: str,
    metrics: dict[str, Any],
    sha256: str,
    file_size: int,
    data_version: str | None,
) -> Model:
    """Insert the model that ``job`` trained, called as ``name_and_version`` says.

    Its number is decided here, one registration at a time: jobs that end together get different ones.
    """
    wait_for_turn(session.connection(), ADVISORY_LOCK)
    name, version = name_and_version(session, job)
    model = Model(
        job_id=job.id,
        algorithm=job.algorithm,
        mlflow_version=mlflow_version,
        mlflow_run_id=mlflow_run_id,
        artifact_path=artifact_path,
        name=name,
        version=version,
        hyperparams=job.hyperparams,
        metrics=metrics,
        sha256=sha256,
        file_size=file_size,
        data_version=data_version,
        battery_ids=job.battery_ids,
    )
    session.add(model)
    session.flush()
    return model


def name_and_version(session: Session, job: Job) -> tuple[str, str]:
    """What the model of ``job`` is called: the job's name, else the algorithm's, and the next version of it.

    Before ``register`` it is a forecast: another job may be registered first.
    """
    name = job.model_name or job.algorithm
    same = select(Model).where(Model.algorithm == job.algorithm, Model.name == name)
    previous = session.scalars(same.order_by(Model.id.desc()).limit(1)).first()
    if previous is None:
        return name, FIRST_VERSION
    return name, next_version(previous.version, previous.hyperparams, job.hyperparams)


def next_version(previous: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """MAJOR moves with the architecture, MINOR with other hyperparameters, PATCH with a retraining."""
    major, minor, patch = (int(part) for part in previous.split("."))
    if any(before.get(name) != now.get(name) for name in SHAPE):
        return f"{major + 1}.0.0"
    if before != now:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def live(session: Session, model_id: int) -> Model | None:
    """The model, unless it was deleted."""
    return session.scalar(select(Model).where(Model.id == model_id, Model.deleted_at.is_(None)))


def by_registered_version(session: Session, algorithm: str, mlflow_version: str) -> Model | None:
    """The row of version ``mlflow_version`` of the registered model ``algorithm``."""
    return session.scalar(select(Model).where(Model.algorithm == algorithm, Model.mlflow_version == mlflow_version))


class Answering(NamedTuple):
    """What a prediction says of the model that gave it."""

    id: int
    algorithm: str
    mlflow_version: str
    mlflow_run_id: str
    version: str
    data_version: str | None
    deleted_at: datetime | None


def answering(connection: Connection, algorithm: str, mlflow_version: str) -> Answering | None:
    """The model that a version of the registered model ``algorithm`` is, deleted or not."""
    found = connection.execute(_answering(), {"algorithm": algorithm, "registered": mlflow_version}).first()
    return Answering(*found) if found else None


def live_answering(connection: Connection, model_id: int) -> Answering | None:
    """The model of this id, unless it was deleted."""
    found = connection.execute(_live_answering(), {"model": model_id}).first()
    return Answering(*found) if found else None


def largest_window(connection: Connection, algorithm: str) -> int | None:
    """Most cycles that any live model of ``algorithm`` looks back over; None when there is no model."""
    largest: int | None = connection.execute(_largest_window(), {"algorithm": algorithm}).scalar()
    return largest


@cache  # building a query costs more than asking it
def _answering() -> Select[Any]:
    named = (Model.algorithm == bindparam("algorithm"), Model.mlflow_version == bindparam("registered"))
    return select(*_columns()).where(*named)


@cache
def _live_answering() -> Select[Any]:
    return select(*_columns()).where(Model.id == bindparam("model"), Model.deleted_at.is_(None))


@cache
def _largest_window() -> Select[Any]:
    window = func.coalesce(Model.hyperparams["window"].as_integer(), 1)
    return select(func.max(window)).where(Model.algorithm == bindparam("algorithm"), Model.deleted_at.is_(None))


def _columns() -> list[Any]:
    return [getattr(Model, name) for name in Answering._fields]


def mark_deleted(model: Model) -> None:
    """Hide the model; its bytes go when the registry lets go of them."""
    model.deleted_at = utc_now()


def live_jobs(session: Session, algorithm: str) -> list[int]:
    """Jobs of ``algorithm`` that are not over: each is compared with the models that there are."""
    query = select(Job.id).where(Job.algorithm == algorithm, Job.status.in_(LIVE))
    return list(session.scalars(query.order_by(Job.id)))
