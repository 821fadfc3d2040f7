"""What is asked of the service, checked, and how it answers. An item that is wrong spoils no other one."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Answer, ModelBundle
from models.hyperparameters import HYPERPARAMETERS

ANSWERED = tuple(field.name for field in fields(Answer))


class Refused(Exception):
    """One item cannot be answered. ``code``: ``INVALID``, ``NOT_FOUND``, ``UNAVAILABLE``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, eq=False)
class Question:
    """One cell's latest cycles, and which model is asked about the last of them."""

    algorithm: str
    version: str | None  # of the registered model; None asks the champion
    x: NDArray[np.float32]  # (T, F) features, oldest cycle first, NaN where unknown
    cycle_index: NDArray[np.float64]  # (T,) as recorded, NaN where unknown
    chemistry: str | None
    explain: bool = False


def read_question(item: object) -> Question:
    """The question in one item of a request. Raises Refused."""
    if not isinstance(item, Mapping):
        raise Refused("INVALID", "an item is an object")
    algorithm, version, chemistry = (item.get(key) for key in ("algorithm", "model_version", "chemistry"))
    if algorithm not in HYPERPARAMETERS:
        raise Refused("INVALID", f"algorithm: one of {', '.join(HYPERPARAMETERS)}, not {algorithm!r}")
    if not (version is None or isinstance(version, str)) or not (chemistry is None or isinstance(chemistry, str)):
        raise Refused("INVALID", "model_version and chemistry are strings or null")
    explain = item.get("explain", False)
    if not isinstance(explain, bool):
        raise Refused("INVALID", "explain is true or false")
    cycle_index = numbers(item.get("cycle_index"), "cycle_index", dimensions=1)
    x = features(item.get("x"), len(cycle_index))
    if len(x) != len(cycle_index):
        raise Refused("INVALID", f"x has {len(x)} cycles, cycle_index {len(cycle_index)}")
    return Question(algorithm, version, x, cycle_index, chemistry, explain)


def features(value: object, cycles: int) -> NDArray[np.float32]:
    """Features (T, F): lists of numbers and nulls, or base64 of float32 row by row, which is read several times sooner.

    Raises Refused.
    """
    if not isinstance(value, str):
        return numbers(value, "x", dimensions=2).astype(np.float32)
    try:
        flat = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
        rows = flat.reshape(cycles, -1)
    except ValueError:
        raise Refused("INVALID", f"x: base64 of float32, {cycles} rows alike") from None
    if rows.size == 0 or np.isinf(rows).any():
        raise Refused("INVALID", "x: finite and not empty")
    return rows


def numbers(value: object, name: str, dimensions: int) -> NDArray[np.float64]:
    """A filled array of numbers, null read as NaN. Raises Refused."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused("INVALID", f"{name}: equally long lists of numbers or nulls") from None
    if array.ndim != dimensions or array.size == 0 or np.isinf(array).any():
        raise Refused("INVALID", f"{name}: {dimensions}-dimensional, finite and not empty")
    return array


def check_fits(question: Question, bundle: ModelBundle, feature_version: int) -> None:
    """Refuse features that the model was not trained on."""
    trained_on = int(bundle.metadata.get("feature_version", 0))
    if trained_on != feature_version:
        raise Refused(
            "INVALID",
            f"this {question.algorithm} model was trained on features of version {trained_on}, "
            f"which are of version {feature_version} now: train it again",
        )
    expected = len(bundle.feature_names)
    if question.x.shape[1] != expected:
        raise Refused("INVALID", f"x: {expected} features a cycle, not {question.x.shape[1]}")
    if not np.isfinite(question.x[-bundle.window :]).any():
        raise Refused("INVALID", "x: none of the features of the cycles that the model looks at is known")


def predict(bundle: ModelBundle, questions: Sequence[Question]) -> list[Answer]:
    """The model's answers, in order; one forward pass for all of them."""
    return bundle.predict(
        [question.x for question in questions],
        [question.cycle_index for question in questions],
        [question.chemistry for question in questions],
    )


def as_json(answer: Answer, version: str, bundle: ModelBundle) -> dict[str, Any]:
    """An answer as it travels, with the version of the model that gave it and where its lives end."""
    return {
        "model_version": version,
        "end_of_life": bundle.metadata.get("end_of_life"),
        **{name: getattr(answer, name) for name in ANSWERED},
    }


def refusal(error: Refused) -> dict[str, Any]:
    """A refusal as it travels."""
    return {"error": {"code": error.code, "message": error.message}}
