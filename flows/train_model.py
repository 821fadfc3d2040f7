"""Flow ``train-model``: one training job, from its row to a registered model. The steps are ``flows.training``'s."""

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from models.observer import Stopped

T = TypeVar("T")


def as_task(name: str, work: Callable[[], T]) -> T:
    """Run a step of the job as a task of the flow, so that Prefect shows and times it.

    A stop is no failure of the task: as an exception it would be logged as one.
    """

    def unless_stopped() -> T | Stopped:
        try:
            return work()
        except Stopped as stopped:
            return stopped

    done = task(name=name, cache_policy=NO_CACHE)(unless_stopped)()
    if isinstance(done, Stopped):
        raise done
    return done


@flow(name="train-model")
def train_model(job_id: int) -> State[Any]:
    """Run the training job of this id; leaves it alone when it is over or another process has it."""
    from flows import training

    outcome = training.run(job_id, as_task, flow_run.id)
    if outcome == "failed":
        return Failed(message="The job's log says why")
    if outcome == "stopped":
        return Cancelled(message="The job was stopped")
    return Completed(message=f"The job {outcome}")
