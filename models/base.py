"""What every network starts from: a regression in closed form, its settings chosen across cells.

Either a straight line (ridge regression) or a smooth curve (kernel ridge regression with a Gaussian and a linear kernel
over centres taken from the training rows: Nystroem's method, Williams & Seeger, NIPS 2000). A smooth curve over all of
the past is expected, and taken unless other settings surely err less on cells left out in turn (on validation where
one cell teaches): line or curve; the penalty; a line's weighing of columns by the square of their covariance with the
target, which keeps out what merely tells cells apart; a curve's width; how much of the past counts. With few cells the
lowest error is chance: what was chosen by it alone erred more on other cells than what was expected. The networks of
an ensemble take a few settings in turn: their mean errs less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # a line's penalty per training row
POWERS = (0, 2)  # of the covariance with the target, as weight of a column in a line
WIDTHS = (0.1, 0.3, 1.0)  # a curve's: exp(-width |a - b|^2 / columns)
ROUGHNESSES = (1e-5, 1e-4, 1e-3, 1e-2)  # a curve's penalty per training row
LINEAR = 0.5  # weight of the linear kernel beside the Gaussian one
CENTRES = (256, 2048)  # least and most, one for `ROWS_A_CENTRE` rows
ROWS_A_CENTRE = 16
REACH = 0.5  # how far beyond its training range a column is believed, in widths of it
FOLDS = 6
BEST = 3  # settings that the networks share, where others than those expected are taken
ENOUGH_CELLS = 4  # to choose by; with two or three, whose inner folds learn from one or two, what wins is too smooth
SURE = 3.0  # standard errors of the mean over cells: some sixty settings are compared at once
EXPECTED = ((1e-4, 0.3), (1e-3, 0.3), (1e-4, 1.0), (1e-3, 1.0))  # penalty and width of SoH's curves
EXPECTED_OF_FEW = ((1e-4, 0.3), (1e-5, 0.1), (1e-4, 0.1), (1e-5, 0.3))  # where fewer cells teach than are enough
CHUNK = 4096  # rows between whose kernel and the centres memory is held
MOST_ROWS = 3000  # of which settings are chosen; a final fit takes ten times as many
BLOCKS = 10  # of neighbouring rows, drawn with replacement for each network


@dataclass(frozen=True)
class Rows:
    """Inputs z (B, D), standardised SoH and RUL (B,), NaN where unknown, and the cell of each."""

    z: Tensor
    targets: tuple[Tensor, Tensor]
    cell: Tensor

    def __getitem__(self, rows: Tensor) -> "Rows":
        """Those rows alone."""
        return Rows(self.z[rows], (self.targets[0][rows], self.targets[1][rows]), self.cell[rows])

    def thinned(self, most: int) -> "Rows":
        """At most so many rows, evenly spaced."""
        count = len(self.z)
        return self if count <= most else self[torch.linspace(0, count - 1, most).round().long()]


@dataclass(frozen=True)
class Setting:
    """How one target's regression is fitted: with a `width` a curve, without a line.

    `spans`: how many of the input's blocks count: the cycle asked about, then means over longer and longer pasts.
    """

    strength: float
    power: int = 0
    width: float | None = None
    spans: int = 1


def expected(spans: int, *, few: bool) -> tuple[list[Setting], list[Setting]]:
    """Settings of SoH and of RUL that do well on most cells, to be taken in turn. RUL bends more sharply than SoH."""
    soh = [Setting(strength, width=width, spans=spans) for strength, width in (EXPECTED_OF_FEW if few else EXPECTED)]
    return soh, [Setting(1e-5, width=1.0, spans=1 + number % spans) for number in range(len(soh))]


def settings(spans: int) -> list[Setting]:
    """All that are tried, for inputs of so many blocks."""
    shapes = [Setting(strength, power) for power in POWERS for strength in STRENGTHS]
    shapes += [Setting(strength, width=width) for width in WIDTHS for strength in ROUGHNESSES]
    return [replace(shape, spans=count) for count in range(1, spans + 1) for shape in shapes]


@dataclass(frozen=True)
class Fit:
    """One target's regression: z @ weight (D,) + bias + gaussian(z, centres (M, D)) @ bumps (M,).

    `width` (D,) is zero for columns that do not count.
    """

    weight: Tensor
    bias: Tensor
    width: Tensor
    centres: Tensor
    bumps: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Predict (B,)."""
        line = z @ self.weight + self.bias
        return line + gaussian(z, self.centres, self.width) @ self.bumps if len(self.bumps) else line


class Base(nn.Module):
    """Regressions of SoH and RUL as fixed parts of a network: buffers, saved with it.

    The input (B, D) is `spans` blocks of C columns.
    """

    weight: Tensor  # (2, D)
    bias: Tensor  # (2,)
    width: Tensor  # (2, D)
    centres: Tensor  # (M, D), the same for both; M is as fitted, or as loaded
    bumps: Tensor  # (2, M)
    slope: Tensor  # (2, D) mean slope over the training rows

    def __init__(self, inputs: int, spans: int = 1) -> None:
        super().__init__()
        self.spans = spans
        self.register_buffer("weight", torch.zeros(2, inputs))
        self.register_buffer("bias", torch.zeros(2))
        self.register_buffer("width", torch.zeros(2, inputs))
        self.register_buffer("centres", torch.zeros(0, inputs))
        self.register_buffer("bumps", torch.zeros(2, 0))
        self.register_buffer("slope", torch.zeros(2, inputs))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, D) to standardised SoH and RUL (B, 2), and how new they are to each curve: 0 to 1, (B, 2).

        That is 1 - k^2 of the nearest centre, the variance that a Gaussian process of this kernel has left beside it.
        A line tells nothing of the kind: 0.
        """
        line = functional.linear(z, self.weight, self.bias)
        if not len(self.centres):
            return line, torch.zeros_like(line)
        kernels = [gaussian(z, self.centres, self.width[i]) for i in range(2)]
        curves = torch.stack([kernel @ self.bumps[i] for i, kernel in enumerate(kernels)], dim=1)
        nearest = torch.stack([kernel.detach().amax(dim=1) for kernel in kernels], dim=1)
        return line + curves, 1 - nearest.square()

    @torch.no_grad()
    def adopt(self, fits: Sequence[Fit], rows: Tensor) -> None:
        """Take over regressions of SoH and RUL; `rows` (B, D) are what they were fitted to."""
        count = max(len(fit.bumps) for fit in fits)
        self.centres = max((fit.centres for fit in fits), key=len).clone()
        self.bumps = rows.new_zeros(2, count)
        for number, fit in enumerate(fits):
            self.weight[number], self.bias[number], self.width[number] = fit.weight, fit.bias, fit.width
            self.slope[number] = fit.weight
            if len(fit.bumps):
                self.bumps[number] = fit.bumps
                bumps = gaussian(rows, fit.centres, fit.width) * fit.bumps  # (B, M); d/dz of the sum of a k(z, c)
                pull = bumps.sum(1) @ rows - bumps.sum(0) @ fit.centres
                self.slope[number] -= 2 * fit.width * pull / len(rows)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """As many centres as were saved."""
        for name in ("centres", "bumps"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.zeros_like(saved, device=self.weight.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def gaussian(z: Tensor, centres: Tensor, width: Tensor) -> Tensor:
    """Kernel (B, M) between rows (B, D) and centres (M, D): exp(-sum of width (a - b)^2)."""
    root = width.sqrt()
    a, b = z * root, centres * root
    square = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
    return torch.exp(-square.clamp(min=0.0))


def fit_one(
    z: Tensor,
    truth: Tensor,
    setting: Setting,
    *,
    spans: int,
    centres: Tensor,
    weight: Tensor | None = None,
    strengths: Sequence[float] = (),
) -> list[Fit]:
    """Fit one target's regression to the rows (B, D) whose truth (B,) is known, weighted; with none, zero.

    Gives a fit for each of `strengths`, which are those of the setting if there are none.
    """
    strengths = strengths or (setting.strength,)
    known = torch.isfinite(truth)
    nothing = (z.new_zeros(z.shape[1]), centres[:0], z.new_zeros(0))
    if not bool(known.any()):
        return [Fit(nothing[0], z.new_zeros(()), *nothing)] * len(strengths)
    counted = (torch.arange(z.shape[1]) < z.shape[1] // spans * setting.spans).double()
    rows, target = z[known].double() * counted, truth[known].double()
    w = torch.ones_like(target) if weight is None else weight[known].double()
    w = w / w.sum()
    if setting.width is None:
        found = [_line(rows, target, w, strength, setting.power) for strength in strengths]
        return [Fit(solution.to(z.dtype), bias.to(z.dtype), *nothing) for solution, bias in found]
    at, width = centres.double() * counted, setting.width * counted / counted.sum()
    linear = LINEAR / counted.sum()
    offset = w @ target
    inner = gaussian(at, at, width) + linear * at @ at.T
    gram, wanted = torch.zeros_like(inner), torch.zeros_like(inner[0])
    for start in range(0, len(rows), CHUNK):
        some, weights, left = (values[start : start + CHUNK] for values in (rows, w, target - offset))
        k = gaussian(some, at, width) + linear * some @ at.T
        gram += (k.T * weights) @ k
        wanted += (k.T * weights) @ left
    fits = []
    for strength in strengths:
        bumps = torch.linalg.solve(gram + strength * inner + 1e-8 * torch.eye(len(at), dtype=k.dtype), wanted)
        line = linear * (at.T @ bumps)
        plain = (line, offset, width, centres, bumps)
        fits.append(Fit(*(values.to(z.dtype) for values in plain)))
    return fits


def _line(rows: Tensor, target: Tensor, w: Tensor, strength: float, power: int) -> tuple[Tensor, Tensor]:
    centre, offset = w @ rows, w @ target
    centred, left = rows - centre, target - offset
    covariance = (centred.T @ (w * left)) / (w @ left.square()).sqrt().clamp(min=1e-12)
    emphasis = covariance.abs() ** power
    centred = centred * emphasis
    penalty = strength * emphasis.square().mean().clamp(min=1e-12)
    gram = centred.T @ (centred * w[:, None]) + penalty * torch.eye(len(centre), dtype=torch.float64)
    solution = torch.linalg.solve(gram, centred.T @ (w * left)) * emphasis
    return solution, offset - centre @ solution


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


def fit_both(
    train: Rows, chosen: Sequence[Setting], spans: int, draw: Generator | None = None
) -> tuple[list[Fit], Tensor]:
    """Fit SoH and RUL, with `draw` on blocks of rows drawn with replacement; and the rows they were fitted to."""
    rows = train.thinned(10 * MOST_ROWS)
    drawn = 1.0 if draw is None else _bootstrap(len(rows.z), draw)
    equal = 1.0 / torch.bincount(rows.cell.long())[rows.cell.long()]  # a cell counts once, however long its record
    centres = _centres(rows)
    fits = [
        fit_one(rows.z, truth, setting, spans=spans, centres=centres, weight=drawn * equal)[0]
        for truth, setting in zip(rows.targets, chosen, strict=True)
    ]
    return fits, rows.z


def _centres(rows: Rows, most: int = CENTRES[1]) -> Tensor:
    return rows.thinned(min(most, max(CENTRES[0], len(rows.z) // ROWS_A_CENTRE))).z


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
        centres = _centres(fitted, CENTRES[0])
        for shape in dict.fromkeys(replace(setting, strength=0.0) for setting in settings(spans)):
            strengths = STRENGTHS if shape.width is None else ROUGHNESSES
            fits = fit_one(fitted.z, fitted.targets[target], shape, spans=spans, centres=centres, strengths=strengths)
            for strength, fit in zip(strengths, fits, strict=True):
                error = (fit(asked) - truth).abs()
                found[replace(shape, strength=strength)] += [float(error[cell == c].mean()) for c in torch.unique(cell)]
    return {setting: np.asarray(errors) for setting, errors in found.items()}


def _bootstrap(rows: int, generator: Generator) -> Tensor:
    """Count how often each row is drawn: by whole blocks, as neighbours are nearly copies. Every row stays a bit."""
    block = torch.arange(rows) * BLOCKS // rows
    drawn = torch.randint(BLOCKS, (BLOCKS,), generator=generator)
    return 0.1 + torch.bincount(drawn, minlength=BLOCKS).float()[block]
