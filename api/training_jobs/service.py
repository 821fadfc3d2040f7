"""Making, stopping and looking at training jobs. A job's log and metrics are views on its events."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.errors import Conflict, NotFound, no_such
from api.handlers import validation_error
from api.pagination import Meta, Paging, page_of
from api.responses import is_key
from api.training_jobs.schemas import LogLine, Logs, Metrics, NewJob
from models.hyperparameters import HYPERPARAMETERS
from store import batteries, jobs
from store.tables import Job

BATTERIES_A_QUERY = 500  # databases bound how many values a query may hold


def create(session: Session, asked: NewJob, user_id: int) -> Job:
    """Insert a queued job. Raises ValidationFailed with the hyperparameter named, NotFound with the batteries."""
    hyperparams = complete_hyperparams(asked.algorithm, asked.hyperparams)
    battery_ids = list(dict.fromkeys(asked.battery_ids))
    check_batteries(session, battery_ids)
    return jobs.create(
        session,
        algorithm=asked.algorithm,
        battery_ids=battery_ids,
        hyperparams=hyperparams,
        total_epochs=hyperparams["epochs"],
        model_name=asked.model_name,
        user_id=user_id,
    )


def complete_hyperparams(algorithm: str, given: dict[str, Any]) -> dict[str, Any]:
    """``given`` with the defaults of ``algorithm`` filled in."""
    known = HYPERPARAMETERS[algorithm]
    try:
        return known.model_validate(given).model_dump()
    except ValidationError as error:
        raise validation_error(error.errors(), prefix="hyperparams", known=known.model_fields) from error


def check_batteries(session: Session, battery_ids: list[int]) -> None:
    """Raise NotFound that names the batteries that are not there."""
    missing: list[int] = []
    for start in range(0, len(battery_ids), BATTERIES_A_QUERY):
        missing += batteries.missing(session, battery_ids[start : start + BATTERIES_A_QUERY])
    if missing:
        details = [{"field": "battery_ids", "issue": f"Battery with ID {one} not found"} for one in missing[:10]]
        if len(missing) == 1:
            raise NotFound(details[0]["issue"], details=details)
        named = ", ".join(str(battery_id) for battery_id in missing[:10])
        raise NotFound(f"Batteries with IDs {named} not found", details=details)


def get(session: Session, job_id: int) -> Job:
    """The job. Raises NotFound."""
    job = jobs.get(session, job_id) if is_key(job_id) else None
    if job is None:
        raise no_such("Training job", job_id)
    return job


def page(session: Session, paging: Paging, status: str | None) -> tuple[list[Job], Meta]:
    """Jobs, newest first."""
    total = jobs.count(session, status)
    return jobs.page(session, paging.offset, paging.page_size, total, status), paging.meta(total)


def stop(session: Session, job_id: int) -> Job:
    """Say that the job is stopped: its flow ends at the next batch. Raises Conflict when it is already over."""
    job = get(session, job_id)
    if not jobs.request_stop(session, job_id, "Stopped by its user"):
        raise Conflict(f"Training job {job_id} is already over: {job.status}")
    return job


def logs(session: Session, job_id: int, paging: Paging) -> Logs:
    """One page of the job's log, oldest first."""
    get(session, job_id)
    rows, meta = page_of(session, jobs.log_lines(job_id), paging)
    lines = [
        LogLine(timestamp=row.created_at, level=row.payload["level"], message=str(row.payload["message"]))
        for row in rows
    ]
    return Logs(logs=lines, meta=meta)


def metrics(session: Session, job_id: int) -> Metrics:
    """Loss curves: one point an epoch."""
    get(session, job_id)
    return Metrics.model_validate(jobs.metrics(session, job_id))
