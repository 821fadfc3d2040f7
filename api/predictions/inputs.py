"""From a request to what a model is asked: which model, and which cycles' features."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.errors import ServiceUnavailable, ValidationFailed, no_such
from api.handlers import validation_error
from api.models import service as models_service
from api.predictions.schemas import CycleData, PredictionRequest
from api.serving import Question, no_model
from batteries.features import cycle_features
from batteries.recordings import Cycle
from store import batteries, models, recordings

WITHOUT_TIME = "cycle_data.time is missing: features that need time are unknown"
WITHOUT_NOMINAL = "cycle_data.nominal_capacity is missing: features that are measured against it are unknown"


@dataclass(frozen=True)
class Asked:
    """A prediction that can be asked for."""

    question: Question
    model_id: int | None
    battery_id: int | None
    warnings: tuple[str, ...] = ()

    @property
    def input_hash(self) -> str:
        """SHA-256 of what the model is shown."""
        shown = [self.question.x, self.question.cycle_index, self.question.nominal_capacity_ah, self.question.chemistry]
        return hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY)).hexdigest()


def parsed(item: Any) -> PredictionRequest:
    """One item of a batch. Raises ValidationFailed with the fields named."""
    try:
        return PredictionRequest.model_validate(item)
    except ValidationError as error:
        raise validation_error(error.errors()) from error


def prepare(session: Session, request: PredictionRequest, data: Path) -> Asked:
    """Look up the model and the cycles. Raises NotFound and ValidationFailed."""
    check_source(request)
    version = None
    if request.model_id is not None:
        model = models_service.get(session, request.model_id)
        if model.algorithm != request.algorithm:
            issue = f"Model {model.id} is a {model.algorithm} model, not {request.algorithm}"
            raise ValidationFailed("Not valid: model_id", details=[{"field": "model_id", "issue": issue}])
        version = model.mlflow_version
    window = models.largest_window(session, request.algorithm)
    if window is None:
        raise no_model(request.algorithm)
    if request.cycle_data is not None:
        return of_cycle(request, request.cycle_data, version)
    return of_battery(session, request, version, window, data)


def check_source(request: PredictionRequest) -> None:
    """Exactly one of battery and samples."""
    if request.battery_id is None and request.cycle_data is None:
        raise ValidationFailed("Either battery_id or cycle_data is needed", status=400)
    if request.battery_id is not None and request.cycle_data is not None:
        issue = "Give battery_id or cycle_data, not both"
        raise ValidationFailed(issue, details=[{"field": "cycle_data", "issue": issue}])


def of_battery(session: Session, request: PredictionRequest, version: str | None, window: int, data: Path) -> Asked:
    """The latest cycles of a battery, as their features were kept at import."""
    battery_id = request.battery_id or 0
    battery = batteries.get(session, battery_id)
    if battery is None:
        raise no_such("Battery", battery_id)
    latest = latest_window(data, battery_id, window)
    question = Question(
        request.algorithm,
        version,
        np.ascontiguousarray(latest.features),
        latest.cycle_index.tolist(),
        battery.nominal_capacity,
        battery.chemistry,
    )
    return Asked(question, request.model_id, battery.id)


def latest_window(data: Path, battery_id: int, length: int) -> recordings.Window:
    """The battery's last cycles. Raises NotFound when it was deleted meanwhile."""
    try:
        return recordings.latest_window(data, battery_id, length)
    except FileNotFoundError as error:
        raise no_such("Battery", battery_id) from error
    except recordings.StaleFeatures as error:
        message = f"The features of battery {battery_id} are from an earlier release and are not renewed yet"
        raise ServiceUnavailable(message) from error


def of_cycle(request: PredictionRequest, data: CycleData, version: str | None) -> Asked:
    """The samples of one cycle."""
    features = cycle_features(as_cycle(data), data.nominal_capacity)
    question = Question(request.algorithm, version, features[np.newaxis, :], [None], data.nominal_capacity, None)
    missing = [(data.time, WITHOUT_TIME), (data.nominal_capacity, WITHOUT_NOMINAL)]
    return Asked(question, request.model_id, None, tuple(said for value, said in missing if value is None))


def as_cycle(data: CycleData) -> Cycle:
    """The arrays in the domain's terms. Raises ValidationFailed that names the array of another length."""
    samples = len(data.voltage)
    for name in ("current", "temperature", "time"):
        values = getattr(data, name)
        if values is not None and len(values) != samples:
            issue = f"Has {len(values)} values, voltage has {samples}"
            field = f"cycle_data.{name}"
            raise ValidationFailed(f"Not valid: {field}", details=[{"field": field, "issue": issue}])
    time_s = column(data.time, samples)
    if data.time is not None and (np.diff(time_s) < 0).any():
        issue = "Time must not run backwards"
        raise ValidationFailed("Not valid: cycle_data.time", details=[{"field": "cycle_data.time", "issue": issue}])
    return Cycle(
        index=0,
        time_s=time_s - time_s[0],
        voltage_v=column(data.voltage, samples),
        current_a=column(data.current, samples),
        temperature_c=column(data.temperature, samples),
    )


def column(values: list[float] | None, samples: int) -> NDArray[np.float64]:
    """An array (samples,); NaN throughout where it was not given."""
    return np.full(samples, np.nan) if values is None else np.asarray(values, dtype=np.float64)
