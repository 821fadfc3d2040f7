"""How far off a finished network is, learned from its errors on the training windows, columns missing or not.

The means are fixed by then: the epoch is chosen by them alone, and the spreads belong to its very weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.ensemble import Ensemble
from models.heads import LOG_SIGMA_SOH, Heads
from models.lightning_modules import Tensors
from models.losses import Targets, spread_loss

ROWS = 512  # windows at most, evenly spaced
ROWS_ABSENT = 96  # and so many again for each set of missing columns
STEPS = 60
PENALTY = 1e-3  # on the weights, so that few rows do not swing the spreads
LEAST = 1e-2  # error in standardised units below which all are alike
FLOOR = 0.05  # quantile of the spreads fitted below which none is believed


def fit_spreads(ensemble: Ensemble, data: Tensors, absences: Sequence[frozenset[int]], shown: Tensor) -> None:
    """Fit the spread heads of every network in place: Gaussian likelihood of its errors, a convex problem.

    `shown` (K, B): the rows of `data` that each network learned from.
    """
    for member, heads, taught in zip(ensemble.networks(), ensemble.heads(), shown, strict=True):
        numbers = torch.nonzero(taught)[:, 0]
        whole, few = (_spaced(data, numbers, most) for most in (ROWS, ROWS_ABSENT))
        z = torch.cat([_without(ensemble, whole, frozenset()), *(_without(ensemble, few, a) for a in absences)])
        parts = [whole, *[few] * len(absences)]
        targets = Targets(
            *(torch.cat(columns) for columns in zip(*(vars(p.targets).values() for p in parts), strict=True))
        )
        hidden, out = _hidden(member, heads, z, torch.cat([part.mask for part in parts]))
        _fit(heads, hidden, out, targets)


def _spaced(data: Tensors, numbers: Tensor, most: int) -> Tensors:
    rows = numbers[torch.linspace(0, len(numbers) - 1, min(len(numbers), most)).round().long()]
    return Tensors(data.x[rows], data.mask[rows], data.cycle_index[rows], data.targets[rows])


@torch.no_grad()
def _without(ensemble: Ensemble, data: Tensors, absent: frozenset[int]) -> Tensor:
    gone = torch.zeros(ensemble.scaler.columns, dtype=torch.bool)
    gone[list(absent)] = True
    index = data.cycle_index.masked_fill(gone[-1], torch.nan)
    scaled: Tensor = ensemble.scaler(data.x.masked_fill(gone[:-1], torch.nan), data.mask, index)
    return scaled


@torch.no_grad()
def _hidden(member: nn.Module, heads: Heads, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What the network gives its heads, and what they make of it."""
    seen: list[Tensor] = []
    hook = heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        out = member(z, mask)
    finally:
        hook.remove()
    return seen[0], out


def _fit(heads: Heads, hidden: Tensor, out: Tensor, targets: Targets) -> None:
    with torch.no_grad():
        heads.spread.weight.zero_()
        heads.spread_floor.fill_(-6.0)
    parameters = [heads.spread.weight, heads.spread.bias]
    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        log_sigma = heads.spread(hidden).clamp(-6.0, 3.0)
        spread = torch.cat([out[:, :LOG_SIGMA_SOH], log_sigma], dim=1)
        loss = spread_loss(spread, targets, least=LEAST) + PENALTY * heads.spread.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    optimiser.zero_grad()
    with torch.no_grad():
        spreads = heads.spread(hidden)
        heads.spread_floor.copy_(torch.quantile(spreads[:1_000_000].float(), FLOOR, dim=0).clamp(-6.0, 3.0))
