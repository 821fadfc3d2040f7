"""One training job, from its row to a registered model. Runs without Prefect; the flow names the steps.

The order makes a crash harmless at any moment: what is not finished is done again by the next process that takes the
job on, and a job has succeeded only once its model's row is there.
"""

import linecache
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from batteries.splits import UnusableData
from flows import claiming
from flows.claiming import Claim
from flows.observing import JobObserver
from flows.patience import MlflowAway, patiently
from flows.pinning import MissingBatteries, pin_data
from flows.publishing import RUN_STATUS, Publisher
from models.observer import Stopped, TrainingFailed, counted
from store import jobs
from store.session import reading, transaction
from store.settings import get_settings

if TYPE_CHECKING:
    from batteries.windows import History
    from models.training import Fitted

T = TypeVar("T")
Outcome = Literal["succeeded", "failed", "stopped", "left"]

logger = logging.getLogger(__name__)

GIST = 300  # characters
LOCK_WITHIN_S = 10.0  # an earlier process of the job may be ending
OUTCOMES: dict[str, Outcome] = {
    "queued": "left",
    "running": "left",
    "succeeded": "succeeded",
    "failed": "failed",
    "stopped": "stopped",
}
EXPECTED = (UnusableData, TrainingFailed, MissingBatteries, MlflowAway)  # their messages are made for the user


class Step(Protocol):
    """How a named step is run: as it is, or as a task of a Prefect flow."""

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        """Run ``work`` and return what it returns."""


def directly(name: str, work: Callable[[], T]) -> T:  # noqa: ARG001
    """Run the step as it is."""
    return work()


def run(job_id: int, step: Step = directly, flow_run_id: str | None = None) -> Outcome:
    """Train, evaluate, register and perhaps promote the job's model.

    ``left``: the job was over, or another living process trains it. A failure or a stop is an outcome too: the job's
    row and events say it. What ends this process (a signal) leaves the job running, for another one to resume.
    """
    with claiming.held(job_id, LOCK_WITHIN_S) as ours:
        if not ours:
            return "left"
        claim = claiming.claim(job_id, flow_run_id)
        if claim is None:
            claiming.tidy(job_id)
            return "left"
        return attempt(claim, step)


def attempt(claim: Claim, step: Step) -> Outcome:
    """Run the steps and close the job by how they end."""
    publisher = Publisher(claim)
    observer = JobObserver(claim.job_id, claim.epochs_told, publisher.tracking.epoch, best_val_loss=claim.best_val_loss)
    try:
        run_to_the_end(claim, observer, publisher, step)
        with undisturbed():
            return close(claim, publisher)
    except BaseException:  # a signal: Prefect cancels a stopped job by one, and so does the end of a worker
        with undisturbed():
            close(claim, publisher)
        raise


def run_to_the_end(claim: Claim, observer: JobObserver, publisher: Publisher, step: Step) -> None:
    """Run the steps; whatever stops them, the job is over afterwards."""
    try:
        run_steps(claim, observer, publisher, step)
    except Stopped:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's user has to learn of it
        tell_failure(claim.job_id, error, observer)


def run_steps(claim: Claim, observer: JobObserver, publisher: Publisher, step: Step) -> None:
    """Everything between the claim and ``complete``."""
    observer.log("info", opening(claim))
    pinned = step("pin data", lambda: pin_data(claim, observer))
    publisher.data_version = pinned.data_version
    fitted = step("train", lambda: fit(claim, pinned.histories, pinned.data_version, observer))
    if observer.should_stop():
        raise Stopped("training was stopped")
    published = step("register", lambda: patiently(lambda: publisher.register(fitted), observer))
    decision = step("promote", lambda: patiently(lambda: publisher.promote(published, fitted, observer), observer))
    observer.log("info", f"Registered as {published.name} {published.version}; {decision}")
    step("complete", lambda: patiently(lambda: publisher.complete(published, fitted), observer))


def opening(claim: Claim) -> str:
    """The first line of the job's log, or of its part that another process goes on with."""
    trained, epochs = len(claim.battery_ids), claim.hyperparameters.epochs
    begun = f"{claim.algorithm} on {counted(trained, 'battery', 'batteries')}, {counted(epochs, 'epoch', 'epochs')}"
    return f"Going on after epoch {claim.epochs_told}: {begun}" if claim.epochs_told else f"Starting: {begun}"


def fit(claim: Claim, histories: "list[History]", data_version: str | None, observer: JobObserver) -> "Fitted":
    """Train on the batteries' histories, from the job's checkpoint when there is one."""
    from batteries.features import FEATURE_NAMES, FEATURE_VERSION
    from models import training

    return training.fit(
        claim.algorithm,
        claim.hyperparameters,
        histories,
        observer=observer,
        checkpoint_dir=claiming.folder(claim.job_id) / "checkpoint",
        feature_names=FEATURE_NAMES,
        feature_version=FEATURE_VERSION,
        data_version=data_version,
        end_of_life=get_settings().end_of_life,
    )


def tell_failure(job_id: int, error: Exception, observer: JobObserver) -> None:
    """Close the job as failed, with a reason its user understands; the traceback is a debug line of its log.

    What the error says whole is the operator's, in the log of this process: it holds paths, statements and parameters.
    """
    logger.error("Job %s failed", job_id, exc_info=error)
    reason = str(error) if isinstance(error, EXPECTED) else f"Unexpected {type(error).__name__}: {gist(error)}"
    observer.log("debug", "\n".join(["Traceback (most recent call last):", *places(error)]))
    observer.log("error", reason)
    with transaction() as session:
        jobs.append_event(session, job_id, "error", {"status": "failed", "error_message": reason})


def gist(error: Exception) -> str:
    """The first line of what the error says, without the files that it names."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.partition("\n")[0][:GIST]


def places(error: BaseException) -> list[str]:
    """Where the error came through, outermost first, after what caused it: modules and source, without folders."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [] if cause is None else [*places(cause), "which led to"]
    frames = [
        f"  {frame.f_globals.get('__name__', '?')}:{number}, in {frame.f_code.co_name}: "
        f"{linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()}"
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    return [*before, *frames, type(error).__name__]


def close(claim: Claim, publisher: Publisher) -> Outcome:
    """Leave nothing of a job that is over: no run of MLflow that seems to go on, then no checkpoint.

    A job that is not over (``left``) keeps its checkpoint: this process ends, another one resumes.
    """
    with reading() as session:
        job = jobs.get(session, claim.job_id)
    outcome: Outcome = "stopped" if job is None else OUTCOMES[job.status]
    if outcome in {"failed", "stopped"}:
        publisher.abandon(RUN_STATUS[outcome])
    publisher.tracking.close()
    if outcome != "left":
        claiming.tidy(claim.job_id)
    return outcome


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let nothing be cut short by SIGTERM, which Prefect sends to a job that is ending by itself already."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
