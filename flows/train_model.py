"""Flow ``train-model``: one training job, from its row to a registered model. The steps are ``flows.training``'s."""

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

T = TypeVar("T")


def as_task(name: str, work: Callable[[], T]) -> T:
    """Run a step of the job as a task of the flow, so that Prefect shows and times it."""
    return task(name=name, cache_policy=NO_CACHE)(work)()


@flow(name="train-model")
def train_model(job_id: int) -> State[Any]:
    """Run the training job of this id; leaves it alone when it is over or another process has it."""
    from flows import training

    outcome = training.run(job_id, as_task)
    if outcome == "failed":
        return Failed(message="The job's log says why")
    if outcome == "stopped":
        return Cancelled(message="The job was stopped")
    return Completed(message=f"The job {outcome}")
