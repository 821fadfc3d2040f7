"""Flow ``train-model``: one training job, from its row to a registered model. The steps are ``flows.training``'s."""

from prefect import flow


@flow(name="train-model")
def train_model(job_id: int) -> None:
    """Run the training job of this id; leaves it alone when it is over already."""
    from flows import training

    training.run(job_id)
