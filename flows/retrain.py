"""Flow ``retrain``: when the data has changed, a challenger for every algorithm that has a champion."""

from prefect import flow


@flow(name="retrain")
def retrain() -> list[int]:
    """Submit a training job for each champion that newer data could beat; their ids."""
    from flows import retraining

    return retraining.run()
