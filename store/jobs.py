"""Training jobs. A job is its event log; the row is the projection of the events.

``queued → running → succeeded | failed | stopped``. The closing event (``complete`` or ``error``) is the last one of
its job: whatever comes after it is not written, so neither the row nor a client that follows ever goes back.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from store.tables import Job, JobEvent, utc_now

EventType = Literal["progress", "log", "complete", "error"]
FINAL = frozenset({"succeeded", "failed", "stopped"})
LIVE = ("queued", "running")
MOSTLY = "succeeded"  # how most jobs end: counted by what the others leave


def create(
    session: Session,
    *,
    algorithm: str,
    battery_ids: list[int],
    hyperparams: dict[str, Any],
    total_epochs: int,
    model_name: str | None = None,
    user_id: int | None = None,
) -> Job:
    """A new job, ``queued``; its id is set. ``hyperparams`` is complete, defaults filled in."""
    job = Job(
        algorithm=algorithm,
        battery_ids=battery_ids,
        hyperparams=hyperparams,
        total_epochs=total_epochs,
        model_name=model_name,
        user_id=user_id,
    )
    session.add(job)
    session.flush()
    return job


def get(session: Session, job_id: int) -> Job | None:
    """The job of this id."""
    return session.get(Job, job_id)


def count(session: Session, status: str | None = None) -> int:
    """How many jobs there are; of one status, when given."""
    every = select(func.count()).select_from(Job)  # what SQLite knows without looking at each row
    if status is None:
        return session.scalar(every) or 0
    if status == MOSTLY:
        others = session.scalar(every.where(Job.status.in_((FINAL | {*LIVE}) - {MOSTLY}))) or 0
        return (session.scalar(every) or 0) - others
    return session.scalar(every.where(Job.status == status)) or 0


def page(session: Session, offset: int, limit: int, total: int, status: str | None = None) -> list[Job]:
    """``limit`` jobs after the newest ``offset`` of ``total``; old ones are sought from the old end."""
    from_the_end = offset > total // 2
    query = select(Job.id) if status is None else select(Job.id).where(Job.status == status)
    if from_the_end:
        limit = max(0, min(limit, total - offset))
        query = query.order_by(Job.id).offset(total - offset - limit if limit else 0).limit(limit)
    else:
        query = query.order_by(Job.id.desc()).offset(offset).limit(limit)
    ids = list(session.scalars(query))  # no row is read to be skipped
    return list(session.scalars(select(Job).where(Job.id.in_(ids)).order_by(Job.id.desc()))) if ids else []


def append_event(session: Session, job_id: int, type: EventType, payload: dict[str, Any]) -> int:  # noqa: A002
    """Write the job's next event and what it changes in the row; returns its number, 0 when the job was over already.

    Payloads are the WebSocket's messages without ``type``, ``job_id`` and ``timestamp``:

    - ``progress``: ``current_epoch, progress (0-1), total_epochs, current_loss``; any may be missing and is then taken
      from the row, further keys are kept. After an epoch also ``train_loss`` and ``val_loss`` (the metrics),
      ``best_val_loss``, ``epoch_seconds`` and ``eta_seconds``.
    - ``log``: ``level, message``.
    - ``complete``: ``model_id, final_metrics``. The job has succeeded.
    - ``error``: ``error_message``, and ``status`` ``failed`` (default) or ``stopped``.

    Raises LookupError when there is no such job.
    """
    job = locked(session, job_id)
    if job.status in FINAL:
        return 0
    now = utc_now()
    job.last_seq += 1
    payload = PROJECTIONS[type](job, payload, now)
    session.add(JobEvent(job_id=job_id, seq=job.last_seq, type=type, payload=payload, created_at=now))
    session.flush()
    return job.last_seq


def project_progress(job: Job, payload: dict[str, Any], now: datetime) -> dict[str, Any]:
    """An epoch is over, or the job starts: it runs."""
    start(job, now)
    job.progress = min(1.0, max(0.0, float(payload.get("progress", job.progress))))
    job.current_epoch = int(payload.get("current_epoch", job.current_epoch))
    job.total_epochs = int(payload.get("total_epochs", job.total_epochs))
    job.current_loss = finite(payload.get("current_loss", job.current_loss))
    return payload | present(job)


def project_log(job: Job, payload: dict[str, Any], now: datetime) -> dict[str, Any]:  # noqa: ARG001
    """A line of the log changes nothing."""
    return {"level": str(payload.get("level", "INFO")), **payload}


def project_complete(job: Job, payload: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The job has succeeded."""
    start(job, now)
    job.status, job.finished_at = "succeeded", now
    job.progress, job.model_id = 1.0, int(payload["model_id"])
    return payload | {"status": job.status}


def project_error(job: Job, payload: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The job has failed or was stopped."""
    status = payload.get("status", "failed")
    if status not in {"failed", "stopped"}:
        raise ValueError(f"an error event ends a job as failed or stopped, not {status!r}")
    message = str(payload["error_message"]).replace("\0", "")  # PostgreSQL's text has no NUL
    job.status, job.finished_at, job.error_message = status, now, message
    return payload | {"status": status}


PROJECTIONS = {
    "progress": project_progress,
    "log": project_log,
    "complete": project_complete,
    "error": project_error,
}


def start(job: Job, now: datetime) -> None:
    """Queued jobs run from now on."""
    if job.status == "queued":
        job.status, job.started_at = "running", now


def present(job: Job) -> dict[str, Any]:
    """What a ``progress`` message says of the job as it stands."""
    return {
        "status": job.status,
        "progress": job.progress,
        "current_epoch": job.current_epoch,
        "total_epochs": job.total_epochs,
        "current_loss": job.current_loss,
    }


def mark_running(session: Session, job_id: int) -> bool:
    """Start a queued job, with a ``progress`` event. False when it is over: then do not run it.

    A job that runs already stays as it is (True): its process was killed and another one resumes it.
    """
    job = locked(session, job_id)
    if job.status == "queued":
        append_event(session, job_id, "progress", {})
    return job.status == "running"


def request_stop(session: Session, job_id: int, reason: str = "Stopped on request") -> bool:
    """Close the job as ``stopped``; False when it was over already. The flow sees it at its next look."""
    return append_event(session, job_id, "error", {"status": "stopped", "error_message": reason}) > 0


def is_live(session: Session, job_id: int) -> bool:
    """Whether the job is neither over nor gone: what a running flow asks between batches."""
    status = session.scalar(select(Job.status).where(Job.id == job_id))
    return status is not None and status not in FINAL


def set_flow_run(session: Session, job_id: int, flow_run_id: str) -> None:
    """Prefect has the job."""
    locked(session, job_id).flow_run_id = flow_run_id


def set_mlflow_run(session: Session, job_id: int, mlflow_run_id: str) -> None:
    """MLflow has a run for the job."""
    locked(session, job_id).mlflow_run_id = mlflow_run_id


def events_after(session: Session, job_id: int, seq: int = 0, limit: int = 500) -> list[JobEvent]:
    """Events that follow number ``seq``, in order."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > seq).order_by(JobEvent.seq)
    return list(session.scalars(query.limit(limit)))


def newest_progress(session: Session, job_id: int) -> JobEvent | None:
    """The last ``progress`` event, of which there is one once the job runs."""
    of_job = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type == "progress")
    return session.scalar(of_job.order_by(JobEvent.seq.desc()).limit(1))


def latest_seqs(session: Session, job_ids: Iterable[int]) -> dict[int, int]:
    """Number of each job's newest event, in one query; jobs that are gone are left out."""
    rows = session.execute(select(Job.id, Job.last_seq).where(Job.id.in_(list(job_ids))))
    return {row.id: row.last_seq for row in rows}


def log_lines(job_id: int) -> Select[Any]:
    """Query of a job's ``log`` events, oldest first."""
    return select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type == "log").order_by(JobEvent.seq)


def metrics(session: Session, job_id: int) -> dict[str, list[Any]]:
    """Losses an epoch: ``{"train_loss": […], "val_loss": […], "epochs": […]}``; null where one was not finite.

    An epoch that was trained twice (the job was resumed) counts as it came out last.
    """
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type == "progress").order_by(JobEvent.seq)
    epochs = {e.payload["current_epoch"]: e.payload for e in session.scalars(query) if "train_loss" in e.payload}
    series: dict[str, list[Any]] = {"train_loss": [], "val_loss": [], "epochs": sorted(epochs)}
    for epoch in series["epochs"]:
        series["train_loss"].append(epochs[epoch]["train_loss"])
        series["val_loss"].append(epochs[epoch].get("val_loss"))
    return series


def unsubmitted(session: Session, limit: int = 100) -> list[Job]:
    """Queued jobs that Prefect was not given yet, oldest first: the outbox."""
    query = select(Job).where(Job.status == "queued", Job.flow_run_id.is_(None)).order_by(Job.id)
    return list(session.scalars(query.limit(limit)))


def in_flight(session: Session) -> list[Job]:
    """Jobs that Prefect has and that are not over, oldest first: what a reconciler compares with Prefect.

    A running job has a run there even when nobody wrote down which (``flow_run_id`` is null): its submitter never heard
    Prefect's answer.
    """
    query = select(Job).where((Job.status == "running") | ((Job.status == "queued") & Job.flow_run_id.is_not(None)))
    return list(session.scalars(query.order_by(Job.id)))


def using_battery(session: Session, battery_id: int) -> list[int]:
    """Ids of jobs that are not over and train on this battery."""
    live = session.execute(select(Job.id, Job.battery_ids).where(Job.status.in_(LIVE)))
    return [job_id for job_id, battery_ids in live if battery_id in battery_ids]


def forget_before(session: Session, moment: datetime, limit: int = 100) -> list[int]:
    """Delete jobs that were over before ``moment``, with their events, the oldest ``limit`` of them; their ids."""
    old = select(Job.id).where(Job.finished_at < moment).order_by(Job.id).limit(limit)
    return list(session.scalars(delete(Job).where(Job.id.in_(old)).returning(Job.id)))


def locked(session: Session, job_id: int) -> Job:
    """The job, for this transaction alone to change. Raises LookupError when there is none."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise LookupError(f"there is no training job {job_id}")
    return job


def finite(value: Any) -> float | None:
    """The number, or None for NaN and infinity."""
    return None if value is None or not abs(float(value)) < float("inf") else float(value)
