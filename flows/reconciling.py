"""Jobs whose process ended without a word (killed, out of memory, power cut) go on from their last epoch.

Rows are compared with Prefect and with the locks that living processes hold. Needs a Prefect server, not a flow.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from flows import claiming, lost_runs, publishing
from store import deployments, jobs
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Job, utc_now

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

ATTEMPTS = 3  # without an epoch in between: a job that kills its process every time is not tried for ever
LOCKS_WITHIN = timedelta(seconds=30)  # a run that began this lately may not have the job's lock yet


def run() -> list[int]:
    """Resume, or fail after ``ATTEMPTS``, every job that nobody works on; their ids. Then clear what jobs left."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as prefect:
        jobs_of_nobody = abandoned(prefect)
        for job in jobs_of_nobody:
            hand_on(prefect, job)
    clear_leftovers()
    return [job.id for job in jobs_of_nobody]


def is_needed(prefect: "SyncPrefectClient") -> bool:
    """Whether ``run`` would find something to do, and could do it."""
    return bool(abandoned(prefect)) or (bool(leftovers()) and publishing.mlflow_answers())


def abandoned(prefect: "SyncPrefectClient") -> list[Job]:
    """Jobs that are not over and that nobody works on."""
    with reading() as session:
        suspects = jobs.in_flight(session)
    return [job for job in suspects if is_abandoned(prefect, job)]


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
        return since > lost_runs.PENDING_FOR
    return ran_here and since > LOCKS_WITHIN


def read_run(prefect: "SyncPrefectClient", job: Job) -> "FlowRun | None":
    """The job's run in Prefect; None when it has none, or none that Prefect still knows."""
    return None if job.flow_run_id is None else lost_runs.read(prefect, job.flow_run_id)


def hand_on(prefect: "SyncPrefectClient", job: Job) -> None:
    """Give the job a new run, which resumes it; fail it when it had enough of them."""
    flow_run = read_run(prefect, job)
    state = None if flow_run is None else flow_run.state
    if state is not None and state.is_cancelled():  # in Prefect's own pages: as good as a stop
        with transaction() as session:
            jobs.request_stop(session, job.id, "Cancelled in Prefect")
        return
    if flow_run is not None:
        lost_runs.close(prefect, flow_run)
    attempts = count_runs(prefect, job)
    if attempts >= ATTEMPTS:
        reason = (
            f"The training process ended without a word {attempts} times and finished no epoch in between; "
            "it may have run out of memory"
        )
        with transaction() as session:
            jobs.append_event(session, job.id, "log", {"level": "ERROR", "message": reason})
            jobs.append_event(session, job.id, "error", {"status": "failed", "error_message": reason})
        return
    with reading() as session:
        if not jobs.is_live(session, job.id):  # it was over a moment after it was looked at
            return
    new = prefect.create_flow_run_from_deployment(
        prefect.read_deployment_by_name(deployments.TRAIN).id,
        parameters={"job_id": job.id},
        name=deployments.run_name(job.id),
        idempotency_key=f"train-{job.id}-{job.created_at.isoformat()}-after-{job.flow_run_id}",
    )
    with transaction() as session:
        jobs.set_flow_run(session, job.id, str(new.id))
        jobs.append_event(session, job.id, "log", {"level": "WARNING", "message": handed_on(job)})


def handed_on(job: Job) -> str:
    """What the job's user reads while the job waits for its next process."""
    if job.status == "queued":
        return "The run was lost before training began; another one starts as soon as there is a place"
    reached = f"after epoch {job.current_epoch}" if job.current_epoch else "before its first epoch"
    return f"The training process ended without a word {reached}; another one goes on as soon as there is a place"


def count_runs(prefect: "SyncPrefectClient", job: Job) -> int:
    """How many runs of the job got to run since it last finished an epoch."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterName,
    )

    with reading() as session:
        told = jobs.newest_progress(session, job.id)
    since = job.created_at if told is None or not job.current_epoch else told.created_at
    of_job = FlowRunFilter(
        name=FlowRunFilterName(any_=[deployments.run_name(job.id)]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=since - timedelta(seconds=1)),
    )
    return sum(flow_run.run_count > 0 for flow_run in prefect.read_flow_runs(flow_run_filter=of_job))


def leftovers() -> list[int]:
    """Ids of jobs that are over, or gone, and whose process was killed before it had tidied up."""
    root = get_settings().var / "jobs"
    left = [int(folder.name) for folder in sorted(root.iterdir()) if folder.name.isdecimal()] if root.is_dir() else []
    left = [job_id for job_id in left if not claiming.is_held(job_id)]
    with reading() as session:
        return [job_id for job_id in left if not jobs.is_live(session, job_id)]


def clear_leftovers() -> None:
    """Finish the ending of jobs that are over and whose process was killed before it had tidied up.

    Raises an ExceptionGroup for those that could not be cleared; the others are.
    """
    failures = []
    for job_id in leftovers():
        try:
            clear(job_id)
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
