"""Flow ``remove-model``: what a deleted model left in MLflow goes too."""

from prefect import flow


@flow(name="remove-model", retries=3, retry_delay_seconds=10)
def remove_model(model_id: int) -> None:
    """Remove the version and its files from MLflow; a model that is not deleted stays."""
    from flows import removal

    removal.run(model_id)
