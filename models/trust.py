"""How much of what a network adds to its regression is believed: what served on what it did not learn from."""

import torch
from torch import Tensor

from batteries.splits import Split
from batteries.windows import Windows
from models.ensemble import Ensemble
from models.heads import RUL
from models.lightning_modules import Tensors
from models.losses import Targets
from models.scaling import TargetScale

CHUNK = 4096


@torch.no_grad()
def trust(ensemble: Ensemble, parts: Split, scale: TargetScale) -> None:
    """Set `trust` of all networks alike, in place: least squares on cells withheld, else on validation; 0 to 1."""
    products, squares = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for number in range(len(ensemble.members)):
        windows = parts.train if any(parts.withheld) else parts.validation
        rows = ~parts.teaches(number) if any(parts.withheld) else parts.validates(number)
        if rows.any():
            product, square = _moments(ensemble, number, windows[rows], scale)
            products, squares = products + product, squares + square
    share = torch.where(squares > 0, products / squares.clamp(min=1e-12), 1.0).clamp(0.0, 1.0)
    for heads in ensemble.heads():
        heads.trust.copy_(share)


def _moments(ensemble: Ensemble, number: int, windows: Windows, scale: TargetScale) -> tuple[Tensor, Tensor]:
    """Sums over the known targets of added * wanted and added * added, (2,) each."""
    heads = ensemble.heads()[number]
    found = [torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    for start in range(0, len(windows), CHUNK):
        data = Tensors.of(windows[slice(start, start + CHUNK)], scale)
        z = ensemble.scaler(data.x, data.mask, data.cycle_index)
        outs = []
        for believed in (0.0, 1.0):
            heads.trust.fill_(believed)
            outs.append(ensemble.members[number](z, data.mask)[:, : RUL + 1].double())
        base, whole = outs
        wanted = _truth(data.targets) - base
        known = torch.isfinite(wanted)
        added = torch.where(known, whole - base, 0.0)
        found[0] += (added * torch.where(known, wanted, 0.0)).sum(0)
        found[1] += added.square().sum(0)
    return found[0], found[1]


def _truth(targets: Targets) -> Tensor:
    return torch.stack([targets.soh, targets.rul], dim=1).double()
