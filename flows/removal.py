"""Removal of a deleted model from MLflow. Runs without Prefect."""

from sqlalchemy import exists, select

from flows import publishing, succession
from store.session import reading
from store.settings import get_settings
from store.tables import Model

CACHES = ("models", "serving")  # below var/: weights read back by flows and by the prediction service


def run(model_id: int) -> bool:
    """Remove the version and its weights of a model whose row is marked deleted; False when it is not.

    Where it was the champion, another live model of its algorithm serves from then on.
    """
    with reading() as session:
        row = session.get(Model, model_id)
    if row is None or row.deleted_at is None:
        return False
    registry = publishing.open_registry()
    succession.hand_over(registry, row.algorithm, row.mlflow_version)
    registry.remove(row.algorithm, row.mlflow_version)
    forget_weights(row)
    return True


def forget_weights(removed: Model) -> None:
    """Delete the copies of a removed model's weights on this machine, unless a model that is there has equal ones."""
    others = (Model.sha256 == removed.sha256, Model.id != removed.id, Model.deleted_at.is_(None))
    with reading() as session:
        if session.scalar(select(exists().where(*others))):
            return
    for cache in CACHES:
        (get_settings().var / cache / f"{removed.sha256}.pth").unlink(missing_ok=True)
