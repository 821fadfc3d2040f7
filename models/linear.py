"""The straight line that every network starts from: ridge regression in closed form."""

import torch
from torch import Generator, Tensor

from models.heads import RUL, SOH
from models.losses import Targets, data_loss

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # ridge penalty per training row
BLOCKS = 10  # of neighbouring rows, drawn with replacement for each network


def ridge(z: Tensor, truth: Tensor, strength: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C,) and bias of a weighted ridge regression on the rows (B, C) whose truth (B,) is known, else zeros."""
    known = torch.isfinite(truth) & (weight > 0)
    if not bool(known.any()):
        return z.new_zeros(z.shape[1]), z.new_zeros(())
    rows, target, w = z[known].double(), truth[known].double(), weight[known].double()
    w = w / w.sum()
    centre, offset = w @ rows, w @ target
    centred = rows - centre
    gram = centred.T @ (centred * w[:, None]) + strength * torch.eye(
        rows.shape[1], dtype=torch.float64, device=z.device
    )
    solution = torch.linalg.solve(gram, centred.T @ (w * (target - offset)))
    return solution.to(z.dtype), (offset - centre @ solution).to(z.dtype)


def fit_lines(
    z: Tensor, targets: Targets, validation_z: Tensor, validation: Targets, *, count: int, generator: Generator
) -> list[tuple[Tensor, Tensor]]:
    """Weights (2, C) and biases (2,) for SoH and RUL, one pair a network, each on its own draw of blocks of rows.

    The penalty is the one with the lowest loss on validation, fitted on all training rows. `z` (B, C), scaled.
    """
    everything = torch.ones(len(z), device=z.device)

    def validation_loss(strength: float) -> float:
        weight, bias = _both(z, targets, strength, everything)
        out = torch.cat([validation_z @ weight.T + bias, torch.zeros_like(validation_z[:, :2])], dim=1)
        return float(data_loss(out, validation))

    strength = min(STRENGTHS, key=validation_loss)
    if count == 1:
        return [_both(z, targets, strength, everything)]
    return [_both(z, targets, strength, _bootstrap(len(z), generator).to(z.device)) for _ in range(count)]


def _both(z: Tensor, targets: Targets, strength: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    lines: dict[int, tuple[Tensor, Tensor]] = {
        SOH: ridge(z, targets.soh, strength, weight),
        RUL: ridge(z, targets.rul, strength, weight),
    }
    return torch.stack([lines[SOH][0], lines[RUL][0]]), torch.stack([lines[SOH][1], lines[RUL][1]])


def _bootstrap(rows: int, generator: Generator) -> Tensor:
    """Count how often each row is drawn: by whole blocks, as neighbours are nearly copies. Every row stays a bit."""
    block = torch.arange(rows) * BLOCKS // rows
    drawn = torch.randint(BLOCKS, (BLOCKS,), generator=generator)
    return 0.1 + torch.bincount(drawn, minlength=BLOCKS).float()[block]
