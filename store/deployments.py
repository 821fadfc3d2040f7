"""Names in Prefect that API, flows and launcher share; ``prefect.yaml`` gives the first ones."""

WORK_POOL = "battery"

# flow/deployment
TRAIN = "train-model/train"
VERSION_DATA = "version-data/version-data"
REMOVE_MODEL = "remove-model/remove-model"
RECONCILE = "reconcile/reconcile"


def run_name(job_id: int) -> str:
    """What all runs of a training job are called."""
    return f"job-{job_id}"
