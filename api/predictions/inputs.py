"""From a request to what a model is asked: which model, and which cycles' features."""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from pydantic import ValidationError
from sqlalchemy import Connection

from api.errors import ServiceUnavailable, ValidationFailed, no_such, not_valid
from api.handlers import validation_error
from api.predictions.forecasts import FADE_CYCLES, fade_rate
from api.predictions.samples import doubts, features_of
from api.predictions.schemas import CycleData, PredictionRequest
from api.serving import Question, no_model
from store import batteries, models, predictions, recordings

KEPT_WINDOWS = 256  # some 10 kB each

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A prediction that can be asked for."""

    question: Question
    model_id: int | None
    battery_id: int | None
    position: int | None = None  # of the battery's cycle that it speaks of
    cycle_index: int | None = None
    warnings: tuple[str, ...] = ()
    forecast: bool = False
    fade: float | None = None  # SoH lost a cycle lately; where a forecast is asked for and it is known

    @property
    def input_hash(self) -> str:
        """SHA-256 of what the model is shown."""
        asked = self.question
        facts = [asked.x.shape, asked.cycle_index, asked.nominal_capacity_ah, asked.chemistry]
        return hashlib.sha256(orjson.dumps(facts) + asked.x.tobytes()).hexdigest()


class Preparation:
    """Looks up what several requests need, each fact once."""

    def __init__(self, connection: Connection, data: Path) -> None:
        self._connection, self._data = connection, data
        self._known: dict[Hashable, Any] = {}

    def prepare(self, request: PredictionRequest) -> Asked:
        """Look up the model and the cycles. Raises NotFound and ValidationFailed."""
        check_source(request)
        version = None if request.model_id is None else self._version(request.algorithm, request.model_id)
        window = self._once(
            ("window", request.algorithm), lambda: models.largest_window(self._connection, request.algorithm)
        )
        if window is None:
            raise no_model(request.algorithm)
        if request.cycle_data is not None:
            return of_cycle(request, request.cycle_data, version)
        return self._of_battery(request, version, window)

    def _version(self, algorithm: str, model_id: int) -> str:
        model = self._once(("model", model_id), lambda: models.live_answering(self._connection, model_id))
        if model is None:
            raise no_such("Model", model_id)
        if model.algorithm != algorithm:
            raise not_valid("model_id", f"Model {model.id} is a {model.algorithm} model, not {algorithm}")
        return model.mlflow_version

    def _of_battery(self, request: PredictionRequest, version: str | None, window: int) -> Asked:
        """The cycles of a battery up to the one asked about, as their features were kept at import."""
        battery_id = request.battery_id or 0
        battery = self._once(("battery", battery_id), lambda: batteries.facts(self._connection, battery_id))
        if battery is None:
            raise no_such("Battery", battery_id)
        position = battery.total_cycles - 1
        if request.cycle_index is not None:
            position = self._position(battery_id, request.cycle_index)
        latest = latest_window(self._data, battery_id, window, position)
        question = Question(
            request.algorithm,
            version,
            latest.features,
            latest.cycle_index.tolist(),
            battery.nominal_capacity,
            battery.chemistry,
            request.explain,
        )
        return Asked(
            question,
            request.model_id,
            battery_id,
            position=position,
            cycle_index=int(latest.cycle_index[-1]),
            forecast=request.forecast,
            fade=self._fade(battery_id, position) if request.forecast else None,
        )

    def _position(self, battery_id: int, cycle_index: int) -> int:
        position = predictions.position_of(self._connection, battery_id, cycle_index)
        if position is None:
            raise not_valid("cycle_index", f"Battery {battery_id} has no cycle {cycle_index}")
        return position

    def _fade(self, battery_id: int, position: int) -> float | None:
        rows = predictions.latest_soh(self._connection, battery_id, position, FADE_CYCLES)
        columns = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return fade_rate(columns[:, 0], columns[:, 1])

    def _once(self, key: Hashable, look_up: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = look_up()
        found: T = self._known[key]
        return found


def parsed(item: Any) -> PredictionRequest:
    """One item of a batch. Raises ValidationFailed with the fields named."""
    try:
        return PredictionRequest.model_validate(item)
    except ValidationError as error:
        raise validation_error(error.errors()) from error


def check_source(request: PredictionRequest) -> None:
    """Exactly one of battery and samples."""
    if request.battery_id is None and request.cycle_data is None:
        raise ValidationFailed("Either battery_id or cycle_data is needed", status=400)
    if request.battery_id is not None and request.cycle_data is not None:
        issue = "Give battery_id or cycle_data, not both"
        raise ValidationFailed(issue, details=[{"field": "cycle_data", "issue": issue}])
    if request.cycle_index is not None and request.battery_id is None:
        raise not_valid("cycle_index", "Names a cycle of a battery; cycle_data is one cycle by itself")


def latest_window(data: Path, battery_id: int, length: int, position: int) -> recordings.Window:
    """The battery's cycles up to ``position``. Raises NotFound when it was deleted meanwhile."""
    try:
        identity = recordings.identity(recordings.path_of(data, battery_id))
        return _kept(identity, data, battery_id, length, position)
    except (FileNotFoundError, IndexError) as error:
        raise no_such("Battery", battery_id) from error
    except recordings.StaleFeatures as error:
        message = f"The features of battery {battery_id} are from an earlier release and are not renewed yet"
        raise ServiceUnavailable(message) from error


@lru_cache(maxsize=KEPT_WINDOWS)
def _kept(_file: tuple[int, ...], data: Path, battery_id: int, length: int, position: int) -> recordings.Window:
    """The window of a file; another file in its place has another identity."""
    found = recordings.latest_window(data, battery_id, length, position)
    return recordings.Window(np.array(found.cycle_index), np.ascontiguousarray(found.features))


def of_cycle(request: PredictionRequest, data: CycleData, version: str | None) -> Asked:
    """The samples of one cycle."""
    features = features_of(data)
    question = Question(
        request.algorithm, version, features[np.newaxis, :], [None], data.nominal_capacity, None, request.explain
    )
    return Asked(question, request.model_id, None, warnings=tuple(doubts(data)), forecast=request.forecast)
