"""Predictions: prepared, asked for in one call, mapped back to the models' rows, and written to the audit trail."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.errors import ApiError, NotFound, ServiceUnavailable
from api.models.service import InFlight
from api.pagination import Meta, Paging, page_of
from api.predictions.inputs import Asked, parsed, prepare
from api.predictions.schemas import PredictionAnswer, PredictionRequest, Result
from api.serving import Serving, as_json, refusal
from store import models, predictions
from store.session import reading, transaction
from store.tables import Model, Prediction

RESULT = ("soh", "rul", "confidence", "soh_interval", "rul_interval", "calibration", "warnings")
Outcome = PredictionAnswer | ApiError


async def predict(
    requests: Sequence[PredictionRequest | Any], *, user_id: int, data: Path, serving: Serving, in_flight: InFlight
) -> list[Outcome]:
    """Answer every request in its place; where one fails stands the error that it failed with.

    Raises ServiceUnavailable when the prediction service is away.
    """
    started = time.perf_counter()
    prepared = await run_sync(_prepare_all, requests, data)
    asked = [one for one in prepared if isinstance(one, Asked)]
    outcomes: Iterator[Outcome] = iter(())
    if asked:
        with ExitStack() as stack:
            for one in asked:
                stack.enter_context(in_flight.using(one.model_id or one.question.algorithm))
            answers = await serving.predict(await run_sync(as_json, [one.question for one in asked]))
            if len(answers) != len(asked):
                raise ServiceUnavailable(
                    f"The prediction service gave {len(answers)} answers to {len(asked)} questions"
                )
            latency_ms = 1000 * (time.perf_counter() - started)
            outcomes = iter(await run_sync(_record_all, asked, answers, user_id, latency_ms))
    return [next(outcomes) if isinstance(one, Asked) else one for one in prepared]


def _prepare_all(requests: Sequence[PredictionRequest | Any], data: Path) -> list[Asked | ApiError]:
    prepared: list[Asked | ApiError] = []
    with reading() as session:
        for request in requests:
            try:
                checked = request if isinstance(request, PredictionRequest) else parsed(request)
                prepared.append(prepare(session, checked, data))
            except ApiError as error:
                error.__cause__ = error.__context__ = (
                    None  # they would hold the whole request until the collector comes
                )
                prepared.append(error.with_traceback(None))
    return prepared


def _record_all(asked: list[Asked], answers: list[dict[str, Any]], user_id: int, latency_ms: float) -> list[Outcome]:
    with transaction() as session:
        return [_record(session, one, answer, user_id, latency_ms) for one, answer in zip(asked, answers, strict=True)]


def _record(session: Session, asked: Asked, answer: dict[str, Any], user_id: int, latency_ms: float) -> Outcome:
    if "error" in answer:
        return refusal(asked.question, answer["error"])
    model = models.by_registered_version(session, asked.question.algorithm, str(answer["model_version"]))
    if model is None or (model.deleted_at is not None and asked.model_id is None):
        return NotFound(f"The serving {asked.question.algorithm} model was deleted; name a model_id, or train another")
    result = Result(**{name: answer[name] for name in RESULT if name in answer})
    result.warnings = [*asked.warnings, *result.warnings]
    row = predictions.record(
        session,
        user_id=user_id,
        model_id=model.id,
        battery_id=asked.battery_id,
        algorithm=asked.question.algorithm,
        result=result.model_dump(mode="json"),
        input_hash=asked.input_hash,
        latency_ms=latency_ms,
    )
    return answer_of(row, model)


def answer_of(row: Prediction, model: Model | None) -> PredictionAnswer:
    """A row of the audit trail as it is shown; the model's row outlives the model."""
    return PredictionAnswer(
        id=row.id,
        algorithm=row.algorithm,
        model_id=row.model_id,
        battery_id=row.battery_id,
        result=Result.model_validate(row.result),
        created_at=row.created_at,
        model_version=model and model.version,
        run_id=model and model.mlflow_run_id,
        data_version=model and model.data_version,
    )


def page(session: Session, paging: Paging) -> tuple[list[PredictionAnswer], Meta]:
    """The audit trail, newest first."""
    rows, meta = page_of(session, history(), paging)
    found = session.scalars(select(Model).where(Model.id.in_({row.model_id for row in rows})))
    by_id = {model.id: model for model in found}
    return [answer_of(row, by_id.get(row.model_id)) for row in rows], meta


def history() -> Select[Any]:
    """Query of all predictions, newest first."""
    return select(Prediction).order_by(Prediction.id.desc())
