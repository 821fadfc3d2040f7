"""Whose a training job is: one process at a time, and only while the job is not over."""

import fcntl
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from models.hyperparameters import HYPERPARAMETERS, Hyperparameters
from store import files, jobs
from store.session import transaction
from store.settings import get_settings

LOCK = "lock"


@dataclass(frozen=True)
class Claim:
    """A job as its row has it when a process takes it on."""

    job_id: int
    algorithm: str
    name: str | None
    battery_ids: tuple[int, ...]
    hyperparameters: Hyperparameters
    created_at: datetime
    epochs_told: int  # by an earlier process that did not get to the end
    best_val_loss: float  # of those epochs; infinity when there were none
    mlflow_run_id: str | None


def folder(job_id: int) -> Path:
    """Where the job keeps its checkpoint and its data while it runs."""
    return files.job_folder(get_settings().var, job_id)


def claim(job_id: int, flow_run_id: str | None = None) -> Claim | None:
    """Take the job on: it is ``running`` from now, by this run of Prefect's. None when it is over."""
    with transaction() as session:
        if not jobs.mark_running(session, job_id):
            return None
        if flow_run_id is not None:  # whoever asked for the run may have been killed before it could note this
            jobs.set_flow_run(session, job_id, flow_run_id)
        job = jobs.locked(session, job_id)
        return Claim(
            job_id=job_id,
            algorithm=job.algorithm,
            name=job.model_name,
            battery_ids=tuple(job.battery_ids),
            hyperparameters=HYPERPARAMETERS[job.algorithm](**job.hyperparams),
            created_at=job.created_at,
            epochs_told=job.current_epoch,
            best_val_loss=best_val_loss(session, job_id),
            mlflow_run_id=job.mlflow_run_id,
        )


def best_val_loss(session: Session, job_id: int) -> float:
    """Smallest validation loss that the job told of so far; infinity before its first epoch."""
    told = jobs.newest_progress(session, job_id)
    known = None if told is None else told.payload.get("best_val_loss")
    return math.inf if known is None else float(known)


@contextmanager
def held(job_id: int, within_s: float) -> Iterator[bool]:
    """Hold the job's lock; False when another living process has it. The system lets go of a dead process's lock."""
    path = files.private_folder(folder(job_id)) / LOCK
    with path.open("w") as file:
        deadline = time.monotonic() + within_s
        while not (ours := try_lock(file.fileno())) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield ours


def try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(job_id: int) -> bool:
    """Whether a living process of this machine works on the job."""
    path = folder(job_id) / LOCK
    return path.exists() and not files.is_abandoned(path)


def tidy(job_id: int) -> None:
    """Remove what the job kept while it ran."""
    shutil.rmtree(folder(job_id), ignore_errors=True)
