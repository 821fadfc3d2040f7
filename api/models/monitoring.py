"""How a model's predictions came true, and how far what it is asked has moved from what it learned from, by week.

The truth of a prediction is what was measured at the cycle it spoke of: in the battery itself, or in a later upload
whose record begins the same and goes on. Drift is the population stability index of each feature over tenths of the
training cycles, with one bin more for "unknown": sum of (asked - trained) ln(asked / trained) over the shares of the
bins (half a count is added to each, so that none is empty). Below 0.1 is usually read as no drift, above 0.25 as much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from api.models.schemas import Drift, Errors, Monitoring, Week
from batteries.features import FEATURE_NAMES, FEATURE_VERSION
from store import predictions, recordings
from store.tables import Model, utc_now

BINS = 10
FEWEST = 20  # questions a week, below which shares of tenths say nothing
WORST = 5  # features told
WHOLE = 2**31 - 1  # cycles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Came:
    """One prediction of a week, with what came true of it (None: not known, or not yet)."""

    result: dict[str, Any]
    inputs: list[float | None] | None
    soh: float | None
    rul: float | None


def monitoring(session: Session, model: Model, data: Path, weeks: int) -> Monitoring:
    """The model's last weeks that have predictions, newest first. The same question counts once a week."""
    monday = week_of(utc_now()) - timedelta(weeks=weeks - 1)
    rows = predictions.of_model(session, model.id, datetime(monday.year, monday.month, monday.day, tzinfo=UTC))
    first = {(week_of(row.created_at), row.input_hash): row for row in rows[::-1]}
    truth = truths_of(session, first.values())
    by_week: dict[date, list[Came]] = {}
    for (week, _), row in first.items():
        soh, rul = truth.get((row.battery_id, row.position, row.cycle_index), (None, None))
        inputs = row.inputs if row.feature_version == FEATURE_VERSION else None
        by_week.setdefault(week, []).append(Came(row.result, inputs, soh, rul))
    trained = reference(data, model.battery_ids or [])
    return Monitoring(
        model_id=model.id,
        algorithm=model.algorithm,
        version=model.version,
        trained_on_cycles=len(trained),
        weeks=[told(week, by_week[week], trained) for week in sorted(by_week, reverse=True)],
    )


def week_of(moment: datetime) -> date:
    """Monday of the week, in UTC."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def truths_of(session: Session, rows: Iterable[Any]) -> dict[tuple[int, int, int], tuple[float | None, float | None]]:
    """SoH (0..1) and RUL that were measured, by battery, position and number of the cycle."""
    asked: dict[int, list[int]] = {}
    for row in rows:
        if row.battery_id is not None and row.position is not None:
            asked.setdefault(row.battery_id, []).append(row.position)
    found: dict[tuple[int, int, int], tuple[float | None, float | None]] = {}
    for battery_id, record in predictions.longest_records(session, set(asked)).items():
        for position, (index, soh, rul) in predictions.truths(session, record, asked[battery_id]).items():
            found[battery_id, position, index] = (None if soh is None else min(max(soh, 0.0), 1.0), rul)
    return found


def told(monday: date, came: Sequence[Came], trained: NDArray[np.float32]) -> Week:
    """One week's errors and drift. RUL is judged before the end of life alone: after it 0 is told by definition."""
    year, number, _ = monday.isocalendar()
    return Week(
        week=f"{year}-W{number:02d}",
        begins=monday,
        predictions=len(came),
        soh=errors("soh", [(one.result, one.soh) for one in came]),
        rul=errors("rul", [(one.result, one.rul or None) for one in came]),
        mean_confidence=float(np.mean([one.result["confidence"] for one in came])),
        drift=drift(trained, [one.inputs for one in came if one.inputs is not None]),
    )


def errors(name: str, pairs: Sequence[tuple[dict[str, Any], float | None]]) -> Errors | None:
    """Errors of ``result[name]`` where the truth is known; None where it is nowhere."""
    known = [(result, truth) for result, truth in pairs if truth is not None and result.get(name) is not None]
    if not known:
        return None
    error = np.array([result[name] - truth for result, truth in known])
    inside = [
        float(interval[0] <= truth <= interval[1])
        for result, truth in known
        if (interval := result.get(f"{name}_interval")) is not None
    ]
    return Errors(
        compared=len(known),
        mean_absolute_error=float(np.abs(error).mean()),
        root_mean_square_error=float(np.sqrt(np.square(error).mean())),
        bias=float(error.mean()),
        coverage_90=float(np.mean(inside)) if inside else None,
    )


def reference(data: Path, battery_ids: Sequence[int]) -> NDArray[np.float32]:
    """Features (N, F) of the batteries that a model learned from, as far as they are still there."""
    found = [np.empty((0, len(FEATURE_NAMES)), dtype=np.float32)]
    for battery_id in battery_ids:
        try:
            found.append(recordings.latest_window(data, battery_id, WHOLE).features)
        except (FileNotFoundError, recordings.StaleFeatures):
            continue
    return np.concatenate(found)


def drift(trained: NDArray[np.float32], inputs: Sequence[list[float | None]]) -> Drift | None:
    """Drift of what was asked; None where too little was asked, or what was learned from is gone."""
    asked = np.array(inputs, dtype=np.float64).reshape(len(inputs), -1)
    if len(asked) < FEWEST or len(trained) < FEWEST or asked.shape[1] != trained.shape[1]:
        return None
    psi = np.array([stability(trained[:, f].astype(np.float64), asked[:, f]) for f in range(trained.shape[1])])
    worst = np.argsort(-psi)[:WORST]
    return Drift(
        inputs=len(asked),
        psi_mean=float(psi.mean()),
        psi_max=float(psi.max()),
        worst={FEATURE_NAMES[f]: float(psi[f]) for f in worst},
    )


def stability(trained: Floats, asked: Floats) -> float:
    """Population stability index of one feature; NaN is a bin of its own."""
    known = trained[np.isfinite(trained)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)

    def shares(values: Floats) -> Floats:
        bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), len(edges) + 1)
        counts = np.bincount(bins, minlength=len(edges) + 2) + 0.5
        part: Floats = counts / counts.sum()
        return part

    before, now = shares(trained), shares(asked)
    return float(np.sum((now - before) * np.log(now / before)))
