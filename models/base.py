"""What every network starts from: a regression in closed form.

Either a straight line (ridge regression) or a smooth curve (kernel ridge regression with a Gaussian and a linear kernel
over centres taken from the training rows: Nystroem's method, Williams & Seeger, NIPS 2000).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

LINEAR = 0.5  # weight of the linear kernel beside the Gaussian one
CENTRES = (256, 2048)  # least and most, one for `ROWS_A_CENTRE` rows
ROWS_A_CENTRE = 16
REACH = 0.5  # how far beyond its training range a column is believed, in widths of it
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
                for start in range(0, len(rows), CHUNK):
                    some = rows[start : start + CHUNK]
                    bumps = gaussian(some, fit.centres, fit.width) * fit.bumps  # (B, M); d/dz of the sum of a k(z, c)
                    pull = bumps.sum(1) @ some - bumps.sum(0) @ fit.centres
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


def fit_both(
    train: Rows, chosen: Sequence[Setting], spans: int, draw: Generator | None = None
) -> tuple[list[Fit], Tensor]:
    """Fit SoH and RUL, with `draw` on blocks of rows drawn with replacement; and the rows they were fitted to."""
    rows = train.thinned(10 * MOST_ROWS)
    drawn = 1.0 if draw is None else _bootstrap(len(rows.z), draw)
    equal = 1.0 / torch.bincount(rows.cell.long())[rows.cell.long()]  # a cell counts once, however long its record
    centres = centres_of(rows)
    fits = [
        fit_one(rows.z, truth, setting, spans=spans, centres=centres, weight=drawn * equal)[0]
        for truth, setting in zip(rows.targets, chosen, strict=True)
    ]
    return fits, rows.z


def centres_of(rows: Rows, most: int = CENTRES[1]) -> Tensor:
    """Take so many rows (M, D) for centres, evenly spaced."""
    return rows.thinned(min(most, max(CENTRES[0], len(rows.z) // ROWS_A_CENTRE))).z


def _bootstrap(rows: int, generator: Generator) -> Tensor:
    """Count how often each row is drawn: by whole blocks, as neighbours are nearly copies. Every row stays a bit."""
    block = torch.arange(rows) * BLOCKS // rows
    drawn = torch.randint(BLOCKS, (BLOCKS,), generator=generator)
    return 0.1 + torch.bincount(drawn, minlength=BLOCKS).float()[block]
