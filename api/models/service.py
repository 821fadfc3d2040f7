"""Looking at models, and letting go of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import ModelInUse, no_such
from api.pagination import Meta, Paging, page_of
from api.responses import is_key
from store import models
from store.tables import Model


class InFlight:
    """Predictions that this process is making: by model, or by algorithm where the registry chooses the model."""

    def __init__(self) -> None:
        self._models: Counter[int | str] = Counter()

    @contextmanager
    def using(self, model: int | str) -> Iterator[None]:
        """Count one in, and out again."""
        self._models[model] += 1
        try:
            yield
        finally:
            self._models[model] -= 1

    def uses(self, model: Model) -> bool:
        """True while a prediction may need ``model``."""
        return self._models[model.id] > 0 or self._models[model.algorithm] > 0


def get(session: Session, model_id: int) -> Model:
    """The model. Raises NotFound."""
    model = models.live(session, model_id) if is_key(model_id) else None
    if model is None:
        raise no_such("Model", model_id)
    return model


def page(session: Session, paging: Paging, algorithm: str | None) -> tuple[list[Model], Meta]:
    """Models, newest first."""
    query = select(Model).where(Model.deleted_at.is_(None)).order_by(Model.id.desc())
    return page_of(session, query if algorithm is None else query.where(Model.algorithm == algorithm), paging)


def delete(session: Session, model_id: int, in_flight: InFlight) -> None:
    """Hide the model. Raises ModelInUse while a job of its algorithm (compared with it) or a prediction is on."""
    model = get(session, model_id)
    training = models.live_jobs(session, model.algorithm)
    if training:
        raise ModelInUse(f"Model {model_id} is in use: training job {training[0]} is compared with it")
    if in_flight.uses(model):
        raise in_use_by_prediction(model_id)
    models.mark_deleted(model)


def in_use_by_prediction(model_id: int) -> ModelInUse:
    """What is said while a prediction needs the model."""
    return ModelInUse(f"Model {model_id} is in use by a prediction")
