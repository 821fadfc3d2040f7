"""Scores of a protocol: per cell, then over cells, then over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import TOLERANCE
from models.metrics import calibration_error

Floats = NDArray[np.float64]
HEADLINE = {"P1": "soh_rmspe", "P2": "soh_mape", "P4": "soh_mae", "P5": "coverage_90"}


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model of one seed says of one held-out cell, (B,) each, beside the truth; NaN where unknown."""

    task: str
    cell: str
    model: str
    seed: int
    soh: Floats
    true_soh: Floats
    rul: Floats
    true_rul: Floats
    radius: Floats  # half width of the 90 % interval of SoH; NaN where the model gives none
    confidence: Floats


def cell_scores(answers: Answers) -> dict[str, float]:
    """Scores of one cell. MAPE (in %) and RMSPE divide by the truth; RUL counts before the end of life only."""
    error = answers.soh - answers.true_soh
    relative = error / answers.true_soh
    life = np.where(answers.true_rul > 0, answers.rul - answers.true_rul, np.nan)
    covered = np.where(np.isfinite(answers.radius), np.abs(error) <= answers.radius, np.nan)
    covered = np.where(np.isfinite(error), covered, np.nan)
    found = {
        "soh_mae": _mean(np.abs(error)),
        "soh_rmse": np.sqrt(_mean(error**2)),
        "soh_mape": 100 * _mean(np.abs(relative)),
        "soh_rmspe": np.sqrt(_mean(relative**2)),
        "rul_mae": _mean(np.abs(life)),
        "rul_rmse": np.sqrt(_mean(life**2)),
        "coverage_90": _mean(covered),
    }
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def summary(protocol: str, everything: Sequence[Answers]) -> dict[str, Any]:
    """What `--json` prints: for each model its scores, their spread over seeds, per cell and per task."""
    models: dict[str, Any] = {}
    for model in dict.fromkeys(answers.model for answers in everything):
        mine = [answers for answers in everything if answers.model == model]
        tasks = list(dict.fromkeys(answers.task for answers in mine))
        found = _over_seeds(mine)
        per_cell = {cell: _cell(mine, cell) for cell in dict.fromkeys(answers.cell for answers in mine)}
        headline = HEADLINE[protocol]
        judged = {cell: scores[headline] for cell, scores in per_cell.items() if headline in scores}
        if not judged:
            continue
        worst = (min if protocol == "P5" else max)(judged, key=lambda cell: judged[cell])
        models[model] = {**found, "worst_cell": judged[worst], "worst_cell_name": worst, "per_cell": per_cell}
        if len(tasks) > 1 and protocol in ("P2", "P5"):
            models[model]["tasks"] = {t: _over_seeds([a for a in mine if a.task == t]) for t in tasks}
    return {"protocol": protocol, "seeds": len({answers.seed for answers in everything}), "models": models}


def _cell(mine: Sequence[Answers], cell: str) -> dict[str, float]:
    return _averaged([cell_scores(answers) for answers in mine if answers.cell == cell])


def _over_seeds(mine: Sequence[Answers]) -> dict[str, float]:
    """Mean over seeds of the mean over cells, and `…_std` over seeds."""
    rounds = []
    for seed in sorted({answers.seed for answers in mine}):
        some = [answers for answers in mine if answers.seed == seed]
        scores = _averaged([cell_scores(answers) for answers in some])
        confidence, within = (np.concatenate(columns) for columns in zip(*map(_kept_promise, some), strict=True))
        error = calibration_error(confidence, within)
        rounds.append(scores | ({"ece": error} if np.isfinite(error) else {}))
    spread = {f"{name}_std": float(np.std([scores[name] for scores in rounds])) for name in rounds[0]}
    return _averaged(rounds) | spread


def _kept_promise(answers: Answers) -> tuple[Floats, Floats]:
    error = np.abs(answers.soh - answers.true_soh)
    known = np.isfinite(error) & np.isfinite(answers.confidence)
    return answers.confidence[known], (error[known] <= TOLERANCE).astype(np.float64)


def _averaged(rounds: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over those that have it."""
    rounds = list(rounds)
    names = dict.fromkeys(name for scores in rounds for name in scores)
    return {name: float(np.mean([scores[name] for scores in rounds if name in scores])) for name in names}


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
