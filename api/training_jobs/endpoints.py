"""``/training-jobs``: start, watch and stop training."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query

from api.authentication import Caller, caller_of
from api.documentation import bearer_scheme, errors
from api.pagination import Page, Paging, paging, paging_of_logs
from api.responses import Identifier
from api.state import State, state_of
from api.training_jobs import service
from api.training_jobs.schemas import Logs, Metrics, NewJob, Status, TrainingJob
from store.session import reading, transaction

router = APIRouter(prefix="/training-jobs", tags=["training jobs"], dependencies=[Depends(bearer_scheme)])


@router.get("", responses=errors())
def list_jobs(
    pages: Annotated[Paging, Depends(paging)],
    status: Annotated[Status | None, Query(description="Only jobs that are so.")] = None,
) -> Page[TrainingJob]:
    """Training jobs, newest first."""
    with reading() as session:
        rows, meta = service.page(session, pages, status)
        return Page(items=[TrainingJob.model_validate(row) for row in rows], meta=meta)


@router.post("", status_code=201, responses=errors(404))
async def create_job(
    asked: NewJob, caller: Annotated[Caller, Depends(caller_of)], state: Annotated[State, Depends(state_of)]
) -> TrainingJob:
    """Train a model. The job waits in `queued` while as many train as may at once, or while the scheduler is away.

    A battery that is not there is 404 and named; an unknown, mistyped or out-of-range hyperparameter is 422 and named.
    """

    def insert() -> TrainingJob:
        with transaction() as session:
            return TrainingJob.model_validate(service.create(session, asked, caller.id))

    job = await run_sync(insert)
    state.outbox.nudge()
    return job


@router.get("/{job_id}", responses=errors(404))
def read_job(job_id: Identifier) -> TrainingJob:
    """Where a job stands. The same, live: WebSocket `/api/v1/training-jobs/{job_id}/ws` (or `/stream`).

    Frames are JSON with `type`, `job_id`, `timestamp` and `seq`:
    `progress` {status, progress, current_epoch, total_epochs, current_loss}, at once and then after every epoch;
    `log` {level, message}; `complete` {status, model_id, final_metrics}; `error` {status, error_message}.
    After `complete` or `error` the server closes with 1000. To go on after a lost connection add `?after=SEQ`.
    The token is sent as header, as subprotocols `["Bearer", token]`, as `?token=`, or by the session cookie.
    """
    with reading() as session:
        return TrainingJob.model_validate(service.get(session, job_id))


@router.post("/{job_id}/stop", responses=errors(404, 409))
async def stop_job(job_id: Identifier, state: Annotated[State, Depends(state_of)]) -> TrainingJob:
    """Stop a job: it ends at its next batch, and registers nothing. 409 when it is already over."""

    def close() -> tuple[TrainingJob, str | None]:
        with transaction() as session:
            job = service.stop(session, job_id)
            return TrainingJob.model_validate(job), job.flow_run_id

    job, flow_run_id = await run_sync(close)
    if flow_run_id is not None:
        state.outbox.cancel(flow_run_id)
    return job


@router.get("/{job_id}/logs", responses=errors(404))
def read_logs(job_id: Identifier, pages: Annotated[Paging, Depends(paging_of_logs)]) -> Logs:
    """What the job wrote, oldest first."""
    with reading() as session:
        return service.logs(session, job_id, pages)


@router.get("/{job_id}/metrics", responses=errors(404))
def read_metrics(job_id: Identifier) -> Metrics:
    """Loss of training and validation by epoch."""
    with reading() as session:
        return service.metrics(session, job_id)
