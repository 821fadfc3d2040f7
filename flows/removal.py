"""Removal of a deleted model from MLflow. Runs without Prefect."""

from store.session import reading
from store.settings import get_settings
from store.tables import Model


def run(model_id: int) -> bool:
    """Remove the version and its weights of a model whose row is marked deleted; False when it is not."""
    with reading() as session:
        row = session.get(Model, model_id)
    if row is None or row.deleted_at is None:
        return False
    from models.registry import Registry

    settings = get_settings()
    Registry(settings.mlflow, settings.var / "models").remove(row.algorithm, row.mlflow_version)
    return True
