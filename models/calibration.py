"""From an estimate's sigma to a probability and to intervals that held on cells not trained on.

Scores are |error| / sigma on held-out windows (normalised conformal prediction: Lei et al., JASA 113(523), 2018),
every cell weighing the same. `confidence` is the share of scores at which the error would lie within 0.02. Neighbouring
windows err together, so the number of cells, not of windows, limits how sure an answer may sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["cells", "time", "none"]
TOLERANCE = 0.02  # of SoH: what `confidence` and `test_accuracy` speak of
COVERAGE = 0.9
LEVELS = 201  # quantiles kept
FEW_CELLS = 10
STRETCHES = 10  # of a cell's life that count as units: neighbouring windows err together, but not a whole life alike


@dataclass(frozen=True)
class Scored:
    """Scores of held-out windows and the cell of each; RUL scores are NaN where RUL is unknown.

    Sigmas are those that the errors were divided by.
    """

    soh: Floats
    rul: Floats
    cell: NDArray[np.int64]
    soh_sigma: Floats = field(default_factory=lambda: np.zeros(0))
    rul_sigma: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Lacking:
    """Quantiles of the scores, as in `Calibration`, of windows of which these columns were taken away."""

    columns: frozenset[int]
    soh: tuple[float, ...]
    rul: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """Quantiles of the scores at evenly spaced levels 0…1; empty where nothing could be scored."""

    soh: tuple[float, ...]
    rul: tuple[float, ...]
    kind: Kind  # held-out cells, or later cycles of the cell that taught
    units: int  # independent units behind the quantiles: cells, or blocks of later cycles
    rul_units: int
    windows: int
    lacking: tuple["Lacking", ...] = ()  # the same with columns missing
    least_soh_sigma: float = 0.0  # below which none is believed
    least_rul_sigma: float = 0.0

    def without(self, columns: frozenset[int]) -> "Calibration":
        """Give the calibration for an answer that lacks `columns`.

        Of the sets of missing columns that were scored the smallest one that holds them all counts; where none does,
        the worst of all. Missing something never makes an answer surer.
        """
        if not columns or not self.lacking:
            return self
        enough = sorted((tried for tried in self.lacking if columns <= tried.columns), key=lambda t: len(t.columns))
        tried = enough[:1] or list(self.lacking)
        return replace(
            self,
            soh=_largest([self.soh, *(t.soh for t in tried)]),
            rul=_largest([self.rul, *(t.rul for t in tried)]),
            lacking=(),
        )

    @staticmethod
    def unknown() -> "Calibration":
        """Nothing was scored yet."""
        return Calibration((), (), "none", 0, 0, 0)

    def confidence(self, soh_sigma: Floats) -> Floats:
        """Probability, strictly between 0 and 1, that the true SoH lies within 0.02 of the estimate."""
        edge = 0.5 / (self._stretches(self.units) + 1)
        if not self.soh:
            return np.full(np.shape(soh_sigma), edge)
        share = _share_below(np.asarray(self.soh), TOLERANCE / np.maximum(soh_sigma, max(self.least_soh_sigma, 1e-12)))
        return edge + (1 - 2 * edge) * share

    def soh_radius(self, sigma: Floats) -> Floats:
        """Half width of the 90 % interval of SoH; NaN where nothing was scored."""
        return _radius(self.soh, self._stretches(self.units)) * np.maximum(sigma, self.least_soh_sigma)

    def rul_radius(self, sigma: Floats) -> Floats:
        """Half width of the 90 % interval of RUL, cycles; NaN where no held-out RUL was known."""
        return _radius(self.rul, self._stretches(self.rul_units)) * np.maximum(sigma, self.least_rul_sigma)

    def _stretches(self, units: int) -> int:
        return units * STRETCHES if self.kind == "cells" else units

    def facts(self) -> dict[str, Any]:
        """Tell what a reader of an answer should know of its calibration."""
        names = {"cells": "held-out cells", "time": "later cycles of the training cell", "none": "none"}
        cells = self.units if self.kind == "cells" else min(self.units, 1)
        return {"kind": names[self.kind], "cells": cells, "windows": self.windows}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the bundle's file."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        lacking = [{"columns": sorted(t.columns), "soh": list(t.soh), "rul": list(t.rul)} for t in self.lacking]
        return {**values, "lacking": lacking}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Calibration":
        """Undo `as_dict`."""
        lacking = tuple(
            Lacking(frozenset(t["columns"]), tuple(t["soh"]), tuple(t["rul"])) for t in values.get("lacking", [])
        )
        changed = {"soh": tuple(values["soh"]), "rul": tuple(values["rul"]), "lacking": lacking}
        return Calibration(**{**values, **changed})


def calibrate(
    parts: Sequence[Scored], kind: Kind, lacking: Mapping[frozenset[int], Sequence[Scored]] | None = None
) -> Calibration:
    """Calibrate on all parts together; each must have been held out. `lacking`: the same parts with columns missing.

    One cell shows what its own later life is like. Beside cycles that taught, its model knows no doubt; a cycle of
    another cell may lie as near and be told as badly as later ones. So no answer counts as surer than those typically.
    """
    soh, rul, cell = _joined(parts)

    def units(scores: Floats) -> int:
        known = np.isfinite(scores)
        return len(np.unique(cell[known])) if kind == "cells" else min(int(known.sum()), FEW_CELLS - 1)

    return Calibration(
        soh=_quantiles(soh, cell),
        rul=_quantiles(rul, cell),
        kind=kind,
        units=units(soh),
        rul_units=units(rul),
        windows=int(np.isfinite(soh).sum()),
        lacking=tuple(_lacking(columns, scored) for columns, scored in (lacking or {}).items()),
        least_soh_sigma=_typical([part.soh_sigma for part in parts]) if kind == "time" else 0.0,
        least_rul_sigma=_typical([part.rul_sigma for part in parts]) if kind == "time" else 0.0,
    )


def _typical(sigmas: Sequence[Floats]) -> float:
    together = np.concatenate(list(sigmas))
    return float(np.median(together)) if len(together) else 0.0


def _joined(parts: Sequence[Scored]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    soh, rul, cell = (np.concatenate([getattr(part, name) for part in parts]) for name in ("soh", "rul", "cell"))
    return soh, rul, cell


def _lacking(columns: frozenset[int], parts: Sequence[Scored]) -> Lacking:
    soh, rul, cell = _joined(parts)
    return Lacking(columns, _quantiles(soh, cell), _quantiles(rul, cell))


def _largest(quantiles: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Level by level the largest of what is known."""
    known = [values for values in quantiles if values]
    return tuple(float(value) for value in np.max(known, axis=0)) if known else ()


def _quantiles(scores: Floats, cell: NDArray[np.int64]) -> tuple[float, ...]:
    known = np.isfinite(scores)
    if not known.any():
        return ()
    scores, cell = scores[known], cell[known]
    _, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    weight = (1.0 / counts[inverse])[order]
    level = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    return tuple(float(q) for q in np.interp(np.linspace(0, 1, LEVELS), level, scores[order]))


def _share_below(quantiles: Floats, value: Floats) -> Floats:
    """Level at which the quantiles reach `value`; below the smallest score, in proportion; above the largest, 1."""
    rising = quantiles + np.arange(len(quantiles)) * 1e-12
    share = np.interp(value, np.concatenate([[0.0], rising]), np.concatenate([[0.0], np.linspace(0, 1, LEVELS)]))
    return np.asarray(share, dtype=np.float64)


def _radius(quantiles: tuple[float, ...], units: int) -> float:
    """Score that bounds 90 % of new cells, with conformal prediction's allowance for few units."""
    if not quantiles:
        return float("nan")
    level = min(1.0, COVERAGE * (1 + 1 / max(units, 1)))
    return float(np.interp(level, np.linspace(0, 1, len(quantiles)), quantiles))
