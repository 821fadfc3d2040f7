"""Scaling and filling of inputs and targets, fitted on training cells alone and kept as buffers of the network.

A missing feature is filled with its expected value given the features that are known, for a Gaussian of the training
rows (with the mean where nothing is known), and marked missing: E[x_m | x_o] = mu_m + S_mo S_oo^-1 (x_o - mu_o), see
Little & Rubin, Statistical Analysis with Missing Data, ch. 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLIP = 8.0  # standard deviations; what lies further out is taken for this far
USUAL = 0.5  # share of the training rows that know a column, from which on its absence is worth a word
SHRINKAGE = 0.05  # of the correlation matrix towards none, so that few rows still give a stable inverse


class InputScaler(nn.Module):
    """Raw features and cycle index to what a network sees: C = F + 1 scaled columns, then C marks of the missing."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    covariance: Tensor  # of the scaled columns
    usual: Tensor  # columns that at least half of the training rows know
    reach: Tensor  # how far beyond its training range a column is believed, in widths of it

    def __init__(self, features: int) -> None:
        super().__init__()
        columns = features + 1
        self.columns = columns
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("std", torch.ones(columns))
        self.register_buffer("low", torch.full((columns,), -torch.inf))
        self.register_buffer("high", torch.full((columns,), torch.inf))
        self.register_buffer("covariance", torch.eye(columns))
        self.register_buffer("usual", torch.zeros(columns, dtype=torch.bool))
        self.register_buffer("reach", torch.tensor(torch.inf))

    @torch.no_grad()
    def fit(self, x: Tensor, cycle_index: Tensor, floors: Sequence[float] = ()) -> None:
        """Learn from the last steps of training windows: `x` (B, F), `cycle_index` (B,), NaN where unknown.

        `floors` (F,): least spreads that are believed; a column that hardly varies among the training cells would
        otherwise be magnified, and with it what merely tells another cell apart.
        """
        rows = torch.cat([x, cycle_index[:, None]], dim=1).double()
        known = torch.isfinite(rows)
        count = known.sum(0).clamp(min=1)
        filled = torch.where(known, rows, 0.0)
        mean = filled.sum(0) / count
        centred = torch.where(known, rows - mean, 0.0)
        std = (centred.square().sum(0) / count).sqrt()
        std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, torch.inf)  # a constant column says nothing
        scaled = centred / std
        pairs = (known.double().T @ known.double()).clamp(min=1)
        correlation = (1 - SHRINKAGE) * (scaled.T @ scaled) / pairs
        correlation.fill_diagonal_(1.0)
        values, vectors = torch.linalg.eigh(correlation)  # pairwise estimates may be slightly indefinite
        correlation = vectors @ torch.diag(values.clamp(min=SHRINKAGE / 2)) @ vectors.T
        believed = torch.maximum(std, torch.tensor([*floors, *[0.0] * (self.columns - len(floors))]).to(std))
        share = torch.where(torch.isfinite(std), std / believed, 1.0)  # of a unit that a column really varies by
        self.mean.copy_(mean)
        self.std.copy_(believed)
        seen = known.any(0)  # of a column that was never known, no value is out of range
        self.low.copy_(torch.where(seen, torch.where(known, rows, torch.inf).amin(0), -torch.inf))
        self.high.copy_(torch.where(seen, torch.where(known, rows, -torch.inf).amax(0), torch.inf))
        self.covariance.copy_(share[:, None] * correlation * share)
        self.usual.copy_(known.double().mean(0) >= USUAL)

    def forward(self, x: Tensor, mask: Tensor, cycle_index: Tensor) -> Tensor:
        """(B, T, F), (B, T), (B, T) to (B, T, 2C); masked steps are zero."""
        return self.filled(*self.standardised(x, cycle_index), mask)

    def standardised(self, x: Tensor, cycle_index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), (B, T) to scaled columns (B, T, C), zero where unknown, and which are unknown."""
        rows = torch.cat([x, cycle_index[..., None]], dim=-1)
        missing = ~torch.isfinite(rows)
        if bool(torch.isfinite(self.reach)):
            margin = torch.nan_to_num(self.reach * (self.high - self.low), nan=0.0)
            rows = torch.clamp(rows, self.low - margin, self.high + margin)
        return torch.where(missing, 0.0, (rows - self.mean) / self.std).clamp(-CLIP, CLIP), missing

    def filled(self, scaled: Tensor, missing: Tensor, mask: Tensor) -> Tensor:
        """Scaled columns (B, T, C), zero where `missing`, to (B, T, 2C): filled, and the marks of what was missing."""
        asked = mask.bool()
        filled = torch.zeros_like(scaled)
        filled[asked] = self._fill(scaled[asked], missing[asked])
        return torch.cat([filled, (missing & asked[..., None]).to(filled.dtype)], dim=-1)

    def _fill(self, scaled: Tensor, missing: Tensor) -> Tensor:
        patterns, which = distinct(missing)
        for number, pattern in enumerate(patterns):
            if not pattern.any() or pattern.all():
                continue
            known = ~pattern
            gain = torch.linalg.solve(self.covariance[known][:, known], self.covariance[known][:, pattern])
            rows = which == number
            guess = torch.zeros_like(scaled[rows])
            guess[:, pattern] = (scaled[rows][:, known] @ gain).clamp(-CLIP, CLIP)
            scaled = scaled.masked_scatter(rows[:, None].expand_as(scaled), scaled[rows] + guess)
        return scaled

    def absent(self, x: Tensor, cycle_index: Tensor) -> Tensor:
        """Tell which columns (B, C) of last steps are unknown though training usually knew them."""
        return ~torch.isfinite(torch.cat([x, cycle_index[:, None]], dim=1)) & self.usual

    def guessed_variance(self, x: Tensor, cycle_index: Tensor, weight: Tensor) -> Tensor:
        """Variance (B, K) that the columns filled in leave in K linear models `weight` (K, C) of last steps.

        w_m' (S_mm - S_mo S_oo^-1 S_om) w_m, the conditional variance of the Gaussian that the filling takes.
        """
        missing = ~torch.isfinite(torch.cat([x, cycle_index[:, None]], dim=1))
        variance = x.new_zeros(len(x), len(weight))
        patterns, which = distinct(missing)
        for number, pattern in enumerate(patterns):
            known, w = ~pattern, weight[:, pattern]
            left = self.covariance[pattern][:, pattern]
            if bool(known.any()):
                across = self.covariance[known][:, pattern]
                left = left - across.T @ torch.linalg.solve(self.covariance[known][:, known], across)
            variance[which == number] = ((w @ left) * w).sum(dim=1).clamp(min=0.0)
        return variance

    def outside(self, x: Tensor, cycle_index: Tensor) -> Tensor:
        """Tell how far (B, C) known values of last steps lie outside the training range, in standard deviations."""
        rows = torch.cat([x, cycle_index[:, None]], dim=1)
        scale = torch.where(torch.isfinite(self.std), self.std, (self.mean.abs() * 1e-2).clamp(min=1e-6))
        beyond = torch.maximum(self.low - rows, rows - self.high).clamp(min=0) / scale
        return torch.where(torch.isfinite(beyond), beyond, 0.0)


def distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Give the different ones of boolean rows (B, C), and which of them each row is (B,).

    As `torch.unique(dim=0)`, which sorts whole rows and takes most of a training step; here a 64-bit hash is sorted.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator).to(rows.device)
    found, which = torch.unique((rows.long() * weights).sum(dim=1), return_inverse=True)
    number = torch.arange(len(rows), device=rows.device)
    first = number.new_full((len(found),), len(rows)).scatter_reduce(0, which, number, "amin")
    return rows[first], which


@dataclass(frozen=True)
class TargetScale:
    """SoH is standardised by mean and spread of the training cycles; RUL is divided by its typical size there."""

    soh_mean: float
    soh_std: float
    rul_scale: float

    @staticmethod
    def fit(soh: Tensor, rul: Tensor, rul_lower_bound: Tensor) -> "TargetScale":
        """Learn from the targets (B,) of training windows, NaN where unknown."""
        soh = soh[torch.isfinite(soh)].double()
        lives = torch.where(torch.isfinite(rul), rul, rul_lower_bound)
        lives = lives[torch.isfinite(lives)].double()
        return TargetScale(
            soh_mean=float(soh.mean()),
            soh_std=max(float(soh.std(unbiased=False)), 0.01),
            rul_scale=max(float(lives.mean()), 1.0) if len(lives) else 1.0,
        )
