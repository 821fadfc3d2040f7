"""Removal of a deleted model from MLflow. Runs without Prefect."""

from flows import publishing
from store.session import reading
from store.tables import Model


def run(model_id: int) -> bool:
    """Remove the version and its weights of a model whose row is marked deleted; False when it is not.

    Where it was the champion, another live model of its algorithm serves from then on.
    """
    with reading() as session:
        row = session.get(Model, model_id)
    if row is None or row.deleted_at is None:
        return False
    registry = publishing.open_registry()
    publishing.hand_over(registry, row.algorithm, row.mlflow_version)
    registry.remove(row.algorithm, row.mlflow_version)
    return True
