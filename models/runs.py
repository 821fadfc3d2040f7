"""An experiment of MLflow, and the one run of each job in it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

JOB_TAG = "battery.job"
MAX_PARAM = 250  # characters


def experiment(client: "MlflowClient", name: str, artifact_location: str | None = None) -> str:
    """Id of the experiment, which is made (with its artifacts there), or restored, where it is not there."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location))
        except MlflowException:  # another job was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def opened(
    client: "MlflowClient",
    experiment_id: str,
    name: str,
    *,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    run_id: str | None,
) -> str:
    """Id of a job's run, opened; one already there (by `run_id`, or by the tag `JOB_TAG`) is resumed."""
    from mlflow.entities import Param, RunTag

    found = [run_id] if run_id is not None else _of_job(client, experiment_id, tags)
    if found:
        client.update_run(found[0], status="RUNNING")
    else:
        made = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        found = _of_job(client, experiment_id, tags) or [made]
    for twin in found[1:]:  # a server that died while it answered was asked again: it has made two
        client.delete_run(twin)
    client.log_batch(
        found[0],
        params=[Param(key, str(value)[:MAX_PARAM]) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    return str(found[0])


def _of_job(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str]) -> list[str]:
    """Ids of the runs that these tags say are one job's; none where they name no job."""
    if JOB_TAG not in tags:
        return []
    runs = client.search_runs([experiment_id], f"tags.`{JOB_TAG}` = '{tags[JOB_TAG]}'")
    return [run.info.run_id for run in runs]
