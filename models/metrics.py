"""How good a model is on windows it was not trained on. Every score is taken per cell, then averaged over the cells."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batteries.windows import Windows
from models.calibration import TOLERANCE, Calibration, Scored

Floats = NDArray[np.float64]
RUL_TOLERANCE = 0.15  # of the true RUL
BINS = 10  # of confidence, for the calibration error


@dataclass(frozen=True, eq=False)
class Judged:
    """Estimates beside the truth, (B,) each; NaN where the truth is unknown. Sigmas are before calibration."""

    soh: Floats
    soh_sigma: Floats
    rul: Floats
    rul_sigma: Floats
    true_soh: Floats
    true_rul: Floats
    cell: NDArray[np.int64]

    @staticmethod
    def of(windows: Windows, soh: Floats, soh_sigma: Floats, rul: Floats, rul_sigma: Floats) -> "Judged":
        """Put estimates of `windows` beside their truth."""
        return Judged(soh, soh_sigma, rul, rul_sigma, windows.soh, windows.rul, windows.cell)

    def without_rul(self) -> "Judged":
        """Forget the true RUL, where it is not a measured one."""
        return replace(self, true_rul=np.full_like(self.true_rul, np.nan))

    @property
    def rul_error(self) -> Floats:
        """Error of RUL while there is a life ahead; NaN past the end of life, where 0 is told by definition."""
        return self.rul - np.where(self.true_rul > 0, self.true_rul, np.nan)

    def scored(self) -> Scored:
        """Scores for calibration: |error| / sigma."""
        return Scored(
            soh=np.abs(self.soh - self.true_soh) / np.maximum(self.soh_sigma, 1e-12),
            rul=np.abs(self.rul_error) / np.maximum(self.rul_sigma, 1e-12),
            cell=self.cell,
            soh_sigma=self.soh_sigma,
            rul_sigma=self.rul_sigma,
        )

    def within(self) -> Floats:
        """1 where SoH is within 0.02 of the truth, 0 where not, NaN where unknown."""
        error = np.abs(self.soh - self.true_soh)
        return np.where(np.isfinite(error), error <= TOLERANCE, np.nan)


def per_cell(values: Floats, cell: NDArray[np.int64], reduce: Callable[[Floats], np.floating]) -> dict[int, float]:
    """`reduce` of the known values of each cell that has any."""
    found = {}
    for number in np.unique(cell):
        known = values[(cell == number) & np.isfinite(values)]
        if len(known):
            found[int(number)] = float(reduce(known))
    return found


def cell_mean(values: Floats, cell: NDArray[np.int64], reduce: Callable[[Floats], np.floating] = np.mean) -> float:
    """Mean over cells of `reduce` of each cell's known values; NaN where nothing is known."""
    found = list(per_cell(values, cell, reduce).values())
    return float(np.mean(found)) if found else float("nan")


def root_mean_square(errors: Floats) -> np.floating:
    """Square root of the mean square."""
    return np.float64(np.sqrt(np.mean(np.square(errors))))


def scores(judged: Judged, calibration: Calibration, training_mean: float) -> dict[str, float]:
    """Held-out scores; those that need an unknown truth are left out.

    `test_accuracy` is the share of cycles whose SoH lies within 0.02 of the truth, `rul_within_15pct` of those before
    the end of life whose RUL is off by at most 15 % or one cycle. `soh_mae_training_mean` is the score of always
    answering the mean of the training cycles. `calibration` must not have seen these windows.
    """
    soh_error, rul_error = judged.soh - judged.true_soh, judged.rul_error
    confidence = calibration.confidence(judged.soh_sigma)
    within = judged.within()
    covered = np.where(np.isfinite(soh_error), np.abs(soh_error) <= calibration.soh_radius(judged.soh_sigma), np.nan)
    allowed = np.maximum(RUL_TOLERANCE * judged.true_rul, 1.0)
    close = np.where(np.isfinite(rul_error), np.abs(rul_error) <= allowed, np.nan)
    found = {
        "test_accuracy": cell_mean(within, judged.cell),
        "soh_mae": cell_mean(np.abs(soh_error), judged.cell),
        "soh_rmse": cell_mean(soh_error, judged.cell, root_mean_square),
        "soh_mae_training_mean": cell_mean(np.abs(judged.true_soh - training_mean), judged.cell),
        "soh_coverage_90": cell_mean(covered, judged.cell),
        "confidence_ece": calibration_error(confidence, within),
        "rul_mae": cell_mean(np.abs(rul_error), judged.cell),
        "rul_within_15pct": cell_mean(close, judged.cell),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def reliability(confidence: Floats, within: Floats) -> list[tuple[float, float, int]]:
    """Of each tenth of confidence that occurs: mean confidence, share that was within 0.02, number of cycles."""
    known = np.isfinite(within)
    confidence, within = confidence[known], within[known]
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = [(which == number) for number in np.unique(which)]
    return [(float(confidence[r].mean()), float(within[r].mean()), int(r.sum())) for r in rows]


def calibration_error(confidence: Floats, within: Floats) -> float:
    """Mean gap between confidence and what came true, weighted by occurrence (expected calibration error)."""
    bins = reliability(confidence, within)
    total = sum(count for *_, count in bins)
    return sum(abs(said - was) * count for said, was, count in bins) / total if total else float("nan")
