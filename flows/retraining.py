"""Challengers for the champions when there is new data. Runs without Prefect, cheap when there is nothing to do."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from models.hyperparameters import HYPERPARAMETERS
from store import data_versions, jobs
from store import models as model_rows
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Battery, Job, Model


def run() -> list[int]:
    """Submit a training job on all batteries for each champion that has not seen the newest data; the jobs' ids.

    A challenger has its champion's hyperparameters and name, and becomes champion by the usual rule.
    """
    version_data()
    with reading() as session:
        due = [algorithm for algorithm in HYPERPARAMETERS if is_due(session, algorithm)]
    if not due:
        return []
    from models.registered import RegisteredModels

    settings = get_settings()
    registry = RegisteredModels(settings.mlflow, settings.var / "models")
    try:
        champions = {algorithm: registry.champion(algorithm) for algorithm in due}
    finally:
        registry.close()
    with transaction() as session:
        return [
            challenge(session, algorithm, version).id
            for algorithm, version in champions.items()
            if version is not None and is_due(session, algorithm)
        ]


def version_data() -> None:
    """Version what is not versioned yet, so that new data is known by another hash."""
    with reading() as session:
        behind = data_versions.is_behind(session)
    if behind:
        from store import versions

        versions.version_everything(push=False)  # the flow version-data pushes


def is_due(session: Session, algorithm: str) -> bool:
    """Whether the algorithm has a model, none of the newest data, and no job that would make one."""
    if session.scalar(select(Battery.id).limit(1)) is None:
        return False
    of_algorithm = (Model.algorithm == algorithm, Model.deleted_at.is_(None))
    if not session.scalar(select(exists().where(*of_algorithm))):
        return False
    if session.scalar(select(exists().where(Job.algorithm == algorithm, Job.status.in_(jobs.LIVE)))):
        return False
    newest = data_versions.newest(session)
    if newest is None:
        return False
    return not session.scalar(select(exists().where(*of_algorithm, Model.data_version == newest.dvc_hash)))


def challenge(session: Session, algorithm: str, champion: str) -> Job:
    """A queued job on all batteries, as the champion was trained. The outbox hands it to Prefect."""
    row = model_rows.by_registered_version(session, algorithm, champion)
    known = {} if row is None else row.hyperparams
    hyperparameters = HYPERPARAMETERS[algorithm](**known)
    return jobs.create(
        session,
        algorithm=algorithm,
        battery_ids=list(session.scalars(select(Battery.id).order_by(Battery.id))),
        hyperparams=hyperparameters.model_dump(),
        total_epochs=hyperparameters.epochs,
        model_name=None if row is None else row.name,
    )
