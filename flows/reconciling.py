"""Jobs whose process ended without a word (killed, out of memory, power cut) go on from their last epoch.

Rows are compared with Prefect and with the locks that living processes hold. Needs a Prefect server, not a flow.
"""

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from flows import claiming, publishing
from store import jobs
from store.forgetting import forget_old_jobs
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Job, utc_now

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

DEPLOYMENT = "train-model/train"
ATTEMPTS = 3  # a job that kills its process every time is not tried for ever
PENDING_FOR = timedelta(minutes=5)  # a worker starts a run within seconds, or died with it
LOCKS_WITHIN = timedelta(seconds=30)  # a run that began this lately may not have the job's lock yet


def run() -> list[int]:
    """Resume, or fail after ``ATTEMPTS``, every job that nobody works on; their ids. Then clear what old jobs left."""
    from prefect.client.orchestration import get_client

    with reading() as session:
        suspects = jobs.in_flight(session)
    with get_client(sync_client=True) as prefect:
        abandoned = [job for job in suspects if is_abandoned(prefect, job)]
        for job in abandoned:
            hand_on(prefect, job)
    forget_old_jobs()
    clear_leftovers()
    return [job.id for job in abandoned]


def is_abandoned(prefect: "SyncPrefectClient", job: Job) -> bool:
    """Whether no process works on the job, nor will. A process on another machine is Prefect's to judge."""
    if claiming.is_held(job.id):
        return False
    ran_here = job.status == "running" and claiming.folder(job.id).exists()
    if job.flow_run_id is None:  # Prefect cannot be asked
        return ran_here
    flow_run = read_run(prefect, job)
    if flow_run is None or flow_run.state is None or flow_run.state.is_final():
        return True
    since = utc_now() - flow_run.state.timestamp
    if flow_run.state.is_scheduled():
        return False
    if flow_run.state.is_pending():
        return since > PENDING_FOR
    return ran_here and since > LOCKS_WITHIN


def read_run(prefect: "SyncPrefectClient", job: Job) -> "FlowRun | None":
    """The job's run in Prefect; None when it has none, or none that Prefect still knows."""
    from prefect.exceptions import ObjectNotFound

    if job.flow_run_id is None:
        return None
    try:
        return prefect.read_flow_run(UUID(job.flow_run_id))
    except ObjectNotFound:
        return None


def hand_on(prefect: "SyncPrefectClient", job: Job) -> None:
    """Give the job a new run, which resumes it; fail it when it had enough of them."""
    from prefect.states import Crashed

    flow_run = read_run(prefect, job)
    state = None if flow_run is None else flow_run.state
    if state is not None and state.is_cancelled():  # in Prefect's own pages: as good as a stop
        with transaction() as session:
            jobs.request_stop(session, job.id, "Cancelled in Prefect")
        return
    if flow_run is not None and state is not None and not state.is_final():
        prefect.set_flow_run_state(flow_run.id, Crashed(message="Its process is gone"), force=True)
    attempts = count_runs(prefect, job)
    if attempts >= ATTEMPTS:
        reason = f"The training process ended without a word {attempts} times; it may have run out of memory"
        with transaction() as session:
            jobs.append_event(session, job.id, "log", {"level": "ERROR", "message": reason})
            jobs.append_event(session, job.id, "error", {"status": "failed", "error_message": reason})
        return
    with reading() as session:
        if not jobs.is_live(session, job.id):  # it was over a moment after it was looked at
            return
    new = prefect.create_flow_run_from_deployment(
        prefect.read_deployment_by_name(DEPLOYMENT).id,
        parameters={"job_id": job.id},
        name=run_name(job),
        idempotency_key=f"train-{job.id}-{job.created_at.isoformat()}-{attempts + 1}",
    )
    with transaction() as session:
        jobs.set_flow_run(session, job.id, str(new.id))
        message = "The training process ended without a word; another one resumes"
        jobs.append_event(session, job.id, "log", {"level": "WARNING", "message": message})


def run_name(job: Job) -> str:
    """What the job's runs are called in Prefect; the API calls them so too."""
    return f"job-{job.id}"


def count_runs(prefect: "SyncPrefectClient", job: Job) -> int:
    """How many runs of the job got to run at all."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterName,
    )

    of_job = FlowRunFilter(
        name=FlowRunFilterName(any_=[run_name(job)]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=job.created_at - timedelta(seconds=1)),
    )
    return sum(flow_run.run_count > 0 for flow_run in prefect.read_flow_runs(flow_run_filter=of_job))


def clear_leftovers() -> None:
    """Finish the ending of jobs that are over and whose process was killed before it had tidied up.

    Raises an ExceptionGroup for those that could not be cleared; the others are.
    """
    root = get_settings().var / "jobs"
    failures = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name.isdecimal() and not claiming.is_held(int(folder.name)):
            try:
                clear(int(folder.name))
            except Exception as error:  # noqa: BLE001 - raised below, after the others had their turn
                failures.append(error)
    if failures:
        raise ExceptionGroup("some jobs could not be cleared", failures)


def clear(job_id: int) -> None:
    """Finish the ending of a job that is over."""
    with reading() as session:
        job = jobs.get(session, job_id)
    if job is not None and job.status not in jobs.FINAL:
        return
    if job is not None:
        publishing.withdraw(job)
        publishing.close_run(job)
    claiming.tidy(job_id)
