"""The audit trail: what was answered, to whom, from which weights; written, listed, read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from api.errors import ApiError, NotFound, no_such
from api.pagination import Meta, Paging, page_of
from api.predictions.forecasts import forecast
from api.predictions.inputs import Asked
from api.predictions.schemas import PredictionAnswer, Result
from api.responses import is_key
from batteries.features import FEATURE_VERSION
from store import models, predictions
from store.models import Answering
from store.session import inserting
from store.settings import get_settings
from store.tables import Model, Prediction, utc_now

RESULT = ("soh", "rul", "confidence", "soh_interval", "rul_interval", "calibration", "warnings")
EXTRAS = frozenset({"forecast", "explanation"})  # of a result, in columns of their own: lists leave them out


@dataclass(frozen=True)
class Answered:
    """A question with the service's answer, or with why there is none."""

    asked: Asked
    input_hash: str
    answer: dict[str, Any] | ApiError
    cached: bool


def record_all(answered: Sequence[Answered], callers: Sequence[tuple[int, float]]) -> list[PredictionAnswer | ApiError]:
    """Keep every answer, in one transaction; what each caller is told. ``callers``: user id and when the call came."""
    outcomes: list[PredictionAnswer | ApiError] = []
    rows: list[dict[str, Any]] = []
    now = utc_now()
    with inserting() as connection:
        by_version: dict[tuple[str, str], Answering | None] = {}
        for one, (user_id, came) in zip(answered, callers, strict=True):
            outcome = answer_of(connection, one, by_version)
            outcomes.append(outcome)
            if isinstance(outcome, PredictionAnswer):
                outcome.user_id, outcome.created_at = user_id, now
                outcome.latency_ms = round(1000 * (time.perf_counter() - came), 3)
                rows.append(row_of(outcome, one))
        ids = iter(predictions.record_all(connection, rows) if rows else ())
    for outcome in outcomes:
        if isinstance(outcome, PredictionAnswer):
            outcome.id = next(ids)
    return outcomes


def answer_of(
    connection: Connection, one: Answered, by_version: dict[tuple[str, str], Answering | None]
) -> PredictionAnswer | ApiError:
    """What is told of an answer, its id and caller still to be filled in."""
    asked, answer = one.asked, one.answer
    if isinstance(answer, ApiError):
        return answer
    key = (asked.question.algorithm, str(answer["model_version"]))
    if key not in by_version:
        by_version[key] = models.answering(connection, *key)
    model = by_version[key]
    if model is None or (model.deleted_at is not None and asked.model_id is None):
        return NotFound(
            f"The serving {key[0]} model was deleted; its successor, if there is one, is being chosen: "
            "ask again in some seconds, or name a model_id"
        )
    result = {name: answer[name] for name in RESULT if name in answer}
    result["warnings"] = [*asked.warnings, *result.get("warnings", [])]
    result["explanation"] = answer.get("explanation")
    if asked.forecast:
        end = float(answer.get("end_of_life") or get_settings().end_of_life)
        result["forecast"] = forecast(answer, end_of_life=end, cycle_index=asked.cycle_index, fade=asked.fade)
    return PredictionAnswer(
        id=0,
        algorithm=key[0],
        model_id=model.id,
        battery_id=asked.battery_id,
        cycle_index=asked.cycle_index,
        result=Result.model_validate(result),
        created_at=utc_now(),
        model_version=model.version,
        run_id=model.mlflow_run_id,
        data_version=model.data_version,
        cached=one.cached,
        input_hash=one.input_hash,
        latency_ms=0.0,
        user_id=None,
    )


def row_of(told: PredictionAnswer, one: Answered) -> dict[str, Any]:
    """What is kept of it."""
    result = told.result.model_dump(mode="json")
    inputs = [float(value) if np.isfinite(value) else None for value in one.asked.question.x[-1]]
    return {
        "user_id": told.user_id,
        "model_id": told.model_id,
        "battery_id": told.battery_id,
        "algorithm": told.algorithm,
        "result": {name: value for name, value in result.items() if name not in EXTRAS},
        "input_hash": told.input_hash,
        "latency_ms": told.latency_ms,
        "position": one.asked.position,
        "cycle_index": told.cycle_index,
        "inputs": inputs,
        "feature_version": FEATURE_VERSION,
        "cached": told.cached,
        "forecast": result["forecast"],
        "explanation": result["explanation"],
        "created_at": told.created_at,
    }


def told_of(row: Prediction, model: Model | None, **extras: Any) -> PredictionAnswer:
    """A row of the audit trail as it is shown; the model's row outlives the model."""
    return PredictionAnswer(
        id=row.id,
        algorithm=row.algorithm,
        model_id=row.model_id,
        battery_id=row.battery_id,
        cycle_index=row.cycle_index,
        result=Result.model_validate(row.result | extras),
        created_at=row.created_at,
        model_version=model and model.version,
        run_id=model and model.mlflow_run_id,
        data_version=model and model.data_version,
        cached=row.cached,
        input_hash=row.input_hash,
        latency_ms=row.latency_ms,
        user_id=row.user_id,
    )


@dataclass(frozen=True)
class Filter:
    """Which predictions are asked for."""

    battery_id: int | None = None
    model_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(session: Session, paging: Paging, wanted: Filter) -> tuple[list[PredictionAnswer], Meta]:
    """The audit trail, newest first, without forecasts and explanations."""
    query = predictions.listing(
        battery_id=wanted.battery_id, model_id=wanted.model_id, since=wanted.since, until=wanted.until
    )
    rows, meta = page_of(session, query, paging)
    found = session.scalars(select(Model).where(Model.id.in_({row.model_id for row in rows})))
    by_id = {model.id: model for model in found}
    return [told_of(row, by_id.get(row.model_id)) for row in rows], meta


def get(session: Session, prediction_id: int) -> PredictionAnswer:
    """One prediction, whole. Raises NotFound."""
    row = predictions.get(session, prediction_id) if is_key(prediction_id) else None
    if row is None:
        raise no_such("Prediction", prediction_id)
    model = session.get(Model, row.model_id)
    return told_of(row, model, forecast=row.forecast, explanation=row.explanation)
