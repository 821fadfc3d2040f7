"""The settings of the regressions that networks start from, chosen across cells.

A smooth curve over all of the past is expected, and taken unless other settings surely err less on cells left out in
turn (on validation where one cell teaches): line or curve; the penalty; a line's weighing of columns by the square of
their covariance with the target, which keeps out what merely tells cells apart; a curve's width; how much of the past
counts. With few cells the lowest error is chance: what was chosen by it alone erred more on other cells than what was
expected. The networks of an ensemble take a few settings in turn: their mean errs less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import CENTRES, MOST_ROWS, REACH, Rows, Setting, centres_of, fit_one

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # a line's penalty per training row
POWERS = (0, 2)  # of the covariance with the target, as weight of a column in a line
WIDTHS = (0.1, 0.3, 1.0)  # a curve's: exp(-width |a - b|^2 / columns)
ROUGHNESSES = (1e-5, 1e-4, 1e-3, 1e-2)  # a curve's penalty per training row
FOLDS = 6
BEST = 3  # settings that the networks share, where others than those expected are taken
ENOUGH_CELLS = 4  # to choose by; with two or three, whose inner folds learn from one or two, what wins is too smooth
SURE = 3.0  # standard errors of the mean over cells: some sixty settings are compared at once
EXPECTED = ((1e-4, 0.3), (1e-3, 0.3), (1e-4, 1.0), (1e-3, 1.0))  # penalty and width of SoH's curves
EXPECTED_OF_FEW = ((1e-4, 0.3), (1e-5, 0.1), (1e-4, 0.1), (1e-5, 0.3))  # where fewer cells teach than are enough


def expected(spans: int, *, few: bool) -> tuple[list[Setting], list[Setting]]:
    """Settings of SoH and of RUL that do well on most cells, to be taken in turn. RUL bends more sharply than SoH."""
    soh = [Setting(strength, width=width, spans=spans) for strength, width in (EXPECTED_OF_FEW if few else EXPECTED)]
    return soh, [Setting(1e-5, width=1.0, spans=1 + number % spans) for number in range(len(soh))]


def settings(spans: int) -> list[Setting]:
    """All that are tried, for inputs of so many blocks."""
    shapes = [Setting(strength, power) for power in POWERS for strength in STRENGTHS]
    shapes += [Setting(strength, width=width) for width in WIDTHS for strength in ROUGHNESSES]
    return [replace(shape, spans=count) for count in range(1, spans + 1) for shape in shapes]


def choose(train: Rows, validation: Rows, spans: int) -> list[tuple[Setting, Setting]]:
    """Settings of SoH and RUL for the networks to take in turn."""
    few = 1 < len(torch.unique(train.cell)) < ENOUGH_CELLS
    usual = expected(spans, few=few)
    if few:
        return list(zip(*usual, strict=True))
    folds = _folds(train.thinned(MOST_ROWS)) or [(train.thinned(MOST_ROWS), validation.thinned(MOST_ROWS))]
    soh, rul = (surely_better(_errors(folds, target, spans), usual[target]) for target in (0, 1))
    return [(soh[number % len(soh)], rul[number % len(rul)]) for number in range(math.lcm(len(soh), len(rul)))]


def surely_better(errors: Mapping[Setting, NDArray[np.float64]], usual: Sequence[Setting]) -> Sequence[Setting]:
    """The best few of those whose error, cell by cell, is less than that of the usual ones, which fill them up."""
    reference = np.mean([errors[setting] for setting in usual], axis=0)
    if len(reference) < 2:
        return sorted(errors, key=lambda setting: float(errors[setting].mean()))[:BEST] if len(reference) else usual
    gains = {setting: reference - error for setting, error in errors.items()}
    doubt = {setting: SURE * gain.std(ddof=1) / np.sqrt(len(gain)) for setting, gain in gains.items()}
    sure = [setting for setting, gain in gains.items() if gain.mean() > doubt[setting]]
    best = sorted(sure, key=lambda setting: -float(gains[setting].mean()))
    return [*best, *usual][:BEST] if best else usual


def _folds(train: Rows) -> list[tuple[Rows, Rows]]:
    """Pairs of rows to fit and to judge, no cell in both; none where one cell teaches."""
    cells = torch.unique(train.cell)
    if len(cells) < 2:
        return []
    held_out = [torch.isin(train.cell, cells[number::FOLDS]) for number in range(min(FOLDS, len(cells)))]
    return [(train[~out], train[out]) for out in held_out]


def _errors(folds: Sequence[tuple[Rows, Rows]], target: int, spans: int) -> dict[Setting, NDArray[np.float64]]:
    """Mean error on each cell that the folds judge, by setting."""
    found: dict[Setting, list[float]] = {setting: [] for setting in settings(spans)}
    for fitted, judged in folds:
        known = torch.isfinite(judged.targets[target])
        truth, cell = judged.targets[target][known], judged.cell[known]
        low, high = fitted.z.amin(0), fitted.z.amax(0)
        asked = torch.clamp(judged.z[known], low - REACH * (high - low), high + REACH * (high - low))
        centres = centres_of(fitted, CENTRES[0])
        for shape in dict.fromkeys(replace(setting, strength=0.0) for setting in settings(spans)):
            strengths = STRENGTHS if shape.width is None else ROUGHNESSES
            fits = fit_one(fitted.z, fitted.targets[target], shape, spans=spans, centres=centres, strengths=strengths)
            for strength, fit in zip(strengths, fits, strict=True):
                error = (fit(asked) - truth).abs()
                found[replace(shape, strength=strength)] += [float(error[cell == c].mean()) for c in torch.unique(cell)]
    return {setting: np.asarray(errors) for setting, errors in found.items()}
