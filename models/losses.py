"""Losses of the two tasks, in standardised units."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.heads import LOG_SIGMA_RUL, LOG_SIGMA_SOH, RUL, SOH

RUL_WEIGHT = 0.5
HUBER_SOH = 1.0  # standard deviations
HUBER_RUL = 0.5  # typical lives
SURVIVAL_SIGMA = 0.3  # typical lives by which a life may be other than predicted, where only a lower bound is known


@dataclass(frozen=True)
class Targets:
    """Standardised targets (B,), NaN where unknown."""

    soh: Tensor
    rul: Tensor
    rul_lower_bound: Tensor

    def __getitem__(self, rows: Tensor) -> "Targets":
        """Those rows alone."""
        return Targets(self.soh[rows], self.rul[rows], self.rul_lower_bound[rows])


def data_loss(out: Tensor, targets: Targets) -> Tensor:
    """Huber loss of SoH and RUL; a cell that outlived its record teaches by its survival (Tobin 1958).

    That is the negative log-likelihood of living longer than the bound, -log Phi((RUL - bound) / sigma), times sigma^2,
    so that far below the bound it is half the square of what is missing, as elsewhere.
    `out` (B, 4) of one network. What is unknown weighs nothing.
    """
    soh = _mean_where_known(
        functional.huber_loss(out[:, SOH], _zero(targets.soh), reduction="none", delta=HUBER_SOH), targets.soh
    )
    rul = functional.huber_loss(out[:, RUL], _zero(targets.rul), reduction="none", delta=HUBER_RUL)
    margin = (out[:, RUL] - _zero(targets.rul_lower_bound)) / SURVIVAL_SIGMA
    survival = -(SURVIVAL_SIGMA**2) * torch.special.log_ndtr(margin)
    life = torch.where(torch.isfinite(targets.rul), rul, survival)
    known = torch.where(torch.isfinite(targets.rul), targets.rul, targets.rul_lower_bound)
    return soh + RUL_WEIGHT * _mean_where_known(life, known)


def spread_loss(out: Tensor, targets: Targets, least: float = 0.0) -> Tensor:
    """Gaussian negative log-likelihood of the errors, which teaches the spreads and nothing else.

    `least` is added to every error (in squares), so that none is believed to be nothing.
    """
    total = out.new_zeros(())
    for mean, log_sigma, truth in ((SOH, LOG_SIGMA_SOH, targets.soh), (RUL, LOG_SIGMA_RUL, targets.rul)):
        error = out[:, mean].detach() - _zero(truth)
        likelihood = 0.5 * (error.square() + least**2) * torch.exp(-2 * out[:, log_sigma]) + out[:, log_sigma]
        total = total + _mean_where_known(likelihood, truth)
    return total


def _zero(values: Tensor) -> Tensor:
    return torch.where(torch.isfinite(values), values, 0.0)


def _mean_where_known(loss: Tensor, truth: Tensor) -> Tensor:
    known = torch.isfinite(truth)
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
