"""The straight line that every network starts from: ridge regression in closed form, its settings chosen across cells.

Three settings are chosen, with the lowest error on cells left out one after the other (on validation where one cell
teaches): the penalty; whether columns weigh alike or by the square of their correlation with the target, which keeps
out what merely tells cells apart; and how far beyond its training range a column is believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # ridge penalty per training row
POWERS = (0, 2)  # of the correlation with the target, as weight of a column
REACHES = (0.0, 0.5)  # in widths of the training range
FOLDS = 5
BLOCKS = 10  # of neighbouring rows, drawn with replacement for each network


@dataclass(frozen=True)
class Rows:
    """Scaled last steps z (B, C), standardised SoH and RUL (B,), NaN where unknown, and the cell of each."""

    z: Tensor
    targets: tuple[Tensor, Tensor]
    cell: Tensor

    def __getitem__(self, rows: Tensor) -> "Rows":
        """Those rows alone."""
        return Rows(self.z[rows], (self.targets[0][rows], self.targets[1][rows]), self.cell[rows])


@dataclass(frozen=True)
class Setting:
    """How one target's line is fitted."""

    strength: float
    power: int


@dataclass(frozen=True)
class Line:
    """Weights (C,) and bias of one target."""

    weight: Tensor
    bias: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Predict (B,)."""
        return z @ self.weight + self.bias


def ridge(z: Tensor, truth: Tensor, setting: Setting, weight: Tensor | None = None) -> Line:
    """Fit a weighted ridge regression to the rows (B, C) whose truth (B,) is known; with none, a line at zero."""
    known = torch.isfinite(truth)
    if not bool(known.any()):
        return Line(z.new_zeros(z.shape[1]), z.new_zeros(()))
    rows, target = z[known].double(), truth[known].double()
    w = torch.ones_like(target) if weight is None else weight[known].double()
    w = w / w.sum()
    centre, offset = w @ rows, w @ target
    centred, left = rows - centre, target - offset
    spread = (w @ centred.square()).sqrt() * (w @ left.square()).sqrt()
    correlation = (centred.T @ (w * left)) / spread.clamp(min=1e-12)
    emphasis = correlation.abs() ** setting.power
    centred = centred * emphasis
    penalty = setting.strength * emphasis.square().mean().clamp(min=1e-12)
    gram = centred.T @ (centred * w[:, None]) + penalty * torch.eye(len(centre), dtype=torch.float64, device=z.device)
    solution = torch.linalg.solve(gram, centred.T @ (w * left)) * emphasis
    return Line(solution.to(z.dtype), (offset - centre @ solution).to(z.dtype))


def choose(train: Rows, validation: Rows) -> tuple[float, tuple[Setting, Setting]]:
    """Choose the reach, and the settings of SoH and RUL."""
    folds = _folds(train) or [(train, validation)]
    settings = [Setting(strength, power) for power in POWERS for strength in STRENGTHS]
    best: dict[float, list[tuple[float, Setting]]] = {
        reach: [
            min(((_error(folds, reach, setting, target), setting) for setting in settings), key=lambda found: found[0])
            for target in (0, 1)
        ]
        for reach in REACHES
    }
    reach = min(best, key=lambda candidate: best[candidate][0][0])
    return reach, (best[reach][0][1], best[reach][1][1])


def lines(train: Rows, settings: Sequence[Setting], count: int, generator: Generator) -> list[tuple[Line, ...]]:
    """Fit SoH and RUL once a network, each network on its own draw of rows."""
    draws = [None] if count == 1 else [_bootstrap(len(train.z), generator).to(train.z.device) for _ in range(count)]
    return [
        tuple(ridge(train.z, truth, setting, draw) for truth, setting in zip(train.targets, settings, strict=True))
        for draw in draws
    ]


def _folds(train: Rows) -> list[tuple[Rows, Rows]]:
    """Pairs of rows to fit and to judge, no cell in both; none where one cell teaches."""
    cells = torch.unique(train.cell)
    if len(cells) < 2:
        return []
    held_out = [torch.isin(train.cell, cells[number::FOLDS]) for number in range(min(FOLDS, len(cells)))]
    return [(train[~out], train[out]) for out in held_out]


def _error(folds: Sequence[tuple[Rows, Rows]], reach: float, setting: Setting, target: int) -> float:
    """Huber loss on what each fold judges, columns believed as far as `reach` beyond what the fold was fitted on."""
    losses = []
    for fitted, judged in folds:
        low, high = fitted.z.amin(0), fitted.z.amax(0)
        margin = reach * (high - low)
        truth = judged.targets[target]
        known = torch.isfinite(truth)
        line = ridge(fitted.z, fitted.targets[target], setting)
        predicted = line(torch.clamp(judged.z[known], low - margin, high + margin))
        losses.append(functional.huber_loss(predicted, truth[known]) if bool(known.any()) else truth.new_zeros(()))
    return float(torch.stack(losses).mean())


def _bootstrap(rows: int, generator: Generator) -> Tensor:
    """Count how often each row is drawn: by whole blocks, as neighbours are nearly copies. Every row stays a bit."""
    block = torch.arange(rows) * BLOCKS // rows
    drawn = torch.randint(BLOCKS, (BLOCKS,), generator=generator)
    return 0.1 + torch.bincount(drawn, minlength=BLOCKS).float()[block]
