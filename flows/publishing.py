"""What a trained model becomes: a run and a version in MLflow, a row, perhaps the champion."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import httpx
from sqlalchemy import delete

from flows import succession
from flows.claiming import Claim
from flows.tracking import Tracking
from models.observer import Epoch, Observer, Stopped
from store import jobs
from store import models as model_rows
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Job, Model

if TYPE_CHECKING:
    from models.registry import Registry, Status
    from models.training import Fitted

ANSWERS_WITHIN_S = 5.0
RETRIES = 2  # of one call to MLflow, 2 and 4 s apart; its own 7 keep a stopped job waiting for minutes
RUN_STATUS: dict[str, "Status"] = {"succeeded": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


@dataclass(frozen=True)
class Published:
    """A registered version and its row."""

    model_id: int
    name: str
    version: str  # MAJOR.MINOR.PATCH
    mlflow_version: str


class Publisher:
    """Writes one job's results to MLflow and to the models' rows."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.data_version: str | None = None
        self.tracking = Tracking(self._open_run, self._log_epochs)

    @cached_property
    def registry(self) -> "Registry":
        """MLflow, on first use."""
        return open_registry()

    def register(self, fitted: "Fitted") -> Published:
        """Make the model a version of the registry, then a row. Both once, however often a job is resumed.

        Raises Stopped when the job was stopped meanwhile.
        """
        claim = self.claim
        run_id = self.tracking.flush()
        with reading() as session:
            seen = jobs.get(session, claim.job_id)
            if seen is None:
                raise Stopped("the job is gone")
            name, version = model_rows.name_and_version(session, seen)
        registered = self.registry.register(run_id, fitted, name=name, version=version)
        with transaction() as session:
            job = jobs.locked(session, claim.job_id)
            live = jobs.is_live(session, claim.job_id)
            row = model_rows.by_registered_version(session, claim.algorithm, registered.version)
            if live and row is None:
                row = model_rows.register(
                    session,
                    job,
                    mlflow_version=registered.version,
                    mlflow_run_id=run_id,
                    artifact_path=registered.artifact_path,
                    metrics=fitted.metrics,
                    sha256=registered.sha256,
                    file_size=registered.file_size,
                    data_version=self.data_version,
                )
        if not live or row is None:
            raise Stopped("stopped before the model was registered")
        if (row.name, row.version) != (name, version):  # another job of this name took the number meanwhile
            self.registry.rename(claim.algorithm, registered.version, row.name, row.version)
        return Published(row.id, row.name, row.version, registered.version)

    def promote(self, published: Published, fitted: "Fitted", observer: Observer) -> str:
        """Let the new version compete with the champion; what came of it, as a sentence."""
        from flows import judges
        from models import promotion

        algorithm, cells = self.claim.algorithm, judges.cells(partial(observer.log, "warning"))
        with succession.deciding():
            decision = promotion.promote(self.registry, algorithm, published.mlflow_version, fitted.bundle, cells)
        return f"{'it serves from now on' if decision.promoted else 'the champion stays'}: {decision.reason}"

    def complete(self, published: Published, fitted: "Fitted") -> None:
        """Close the run and the job. Raises Stopped when it was stopped a moment before."""
        run_id = self.tracking.flush()
        self.registry.end_run(run_id, "FINISHED")
        losses = {key: fitted.metrics[key] for key in ("train_loss", "val_loss")}
        with transaction() as session:
            payload = {"model_id": published.model_id, "final_metrics": losses}
            if jobs.append_event(session, self.claim.job_id, "complete", payload) == 0:
                raise Stopped("stopped before the job was complete")

    def abandon(self, status: "Status") -> None:
        """Close the run, if there is one, as what it came to; withdraw what was published of it."""
        with reading() as session:
            job = jobs.get(session, self.claim.job_id)
        if job is not None:
            withdraw(job)
        if (job is not None and job.mlflow_run_id is not None) or self.tracking.started:
            self.registry.end_run(self.tracking.flush(), status)

    def _open_run(self) -> str:
        claim = self.claim
        name = f"{claim.name or claim.algorithm} (job {claim.job_id})"
        tags = {
            "battery.job": f"{claim.job_id} of {claim.created_at.isoformat()}",  # ids begin anew with a database
            "battery.batteries": ", ".join(map(str, claim.battery_ids)),
            "battery.data_version": self.data_version or "",
        }
        parameters = {"algorithm": claim.algorithm, **claim.hyperparameters.model_dump()}
        run_id = self.registry.start_run(claim.algorithm, name, parameters, tags, claim.mlflow_run_id)
        with transaction() as session:
            jobs.set_mlflow_run(session, claim.job_id, run_id)
        return run_id

    def _log_epochs(self, run_id: str, epochs: Sequence[Epoch]) -> None:
        self.registry.log_epochs(run_id, epochs)


def open_registry() -> "Registry":
    """MLflow as the settings say; torch is imported no earlier than this is called."""
    from models.registry import Registry

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    settings = get_settings()
    return Registry(settings.mlflow, settings.var / "models")


def mlflow_answers() -> bool:
    """Whether MLflow's server is there."""
    try:
        return httpx.get(f"{get_settings().mlflow}/health", timeout=ANSWERS_WITHIN_S, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def withdraw(job: Job) -> None:
    """Take back what a job published that did not succeed: rows, versions, the champion's place. Twice is fine."""
    if job.status not in {"failed", "stopped"}:
        return
    with transaction() as session:
        session.execute(delete(Model).where(Model.job_id == job.id))
    if job.mlflow_run_id is None:
        return
    registry = open_registry()
    for version in registry.client.search_model_versions(f"run_id = '{job.mlflow_run_id}'"):
        succession.put_back(registry, job.algorithm, str(version.version))
        registry.remove(job.algorithm, str(version.version))


def close_run(job: Job) -> None:
    """Let no run of MLflow seem to go on once its job is over; a run that was deleted in MLflow does not."""
    if job.mlflow_run_id is None:
        return
    from mlflow.exceptions import MlflowException

    try:
        open_registry().end_run(job.mlflow_run_id, RUN_STATUS[job.status])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
