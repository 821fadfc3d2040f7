"""Where training starts: the scale of the targets, and the regression of each network on the rows it learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from batteries.splits import Split
from batteries.windows import Windows
from models.base import REACH, Fit, Rows, Setting, fit_both
from models.censoring import completed, left_by_pace, with_rul
from models.choosing import choose
from models.ensemble import Ensemble
from models.lightning_modules import Lessons, Tensors
from models.scaling import TargetScale


def target_scale(windows: Windows, end_of_life: float) -> TargetScale:
    """Fit to the training windows; lives that outlived their records count as long as their own pace tells."""
    expected = windows.rul_lower_bound + left_by_pace(windows, end_of_life)
    lives = np.where(np.isfinite(windows.rul), windows.rul, expected)
    return TargetScale.fit(*(torch.from_numpy(a) for a in (windows.soh, lives, windows.rul_lower_bound)))


@dataclass(frozen=True)
class Beginning:
    """What the regressions are fitted to, and the settings of SoH and RUL that the networks take in turn."""

    rows: Rows
    bounds: Tensor  # (B,) least standardised RUL of cells that outlived their records
    left: Tensor  # (B,) what is left beyond it by the cell's own pace
    chosen: Sequence[tuple[Setting, Setting]]
    spans: int

    def fit(self, network: int, shown: Tensor, draw: Generator | None = None) -> tuple[list[Fit], Tensor]:
        """Regressions with the settings of this network on the rows `shown` (B,), and the rows they were fitted to."""
        setting = self.chosen[network % len(self.chosen)]
        lives = completed(self.rows[shown], self.bounds[shown], self.left[shown], setting[1], self.spans)
        return fit_both(with_rul(self.rows[shown], lives), setting, self.spans, draw)


def start(
    ensemble: Ensemble,
    parts: Split,
    data: tuple[Tensors, Tensors],
    scale: TargetScale,
    *,
    end_of_life: float,
    seed: int,
) -> Beginning:
    """Fit the regressions that the networks start from, in place; `data`: of training and of validation."""
    ensemble.scaler.reach.fill_(REACH)
    bounds = [part.targets.rul_lower_bound for part in data]
    left = [_left(windows, scale, end_of_life) for windows in (parts.train, parts.validation)]
    rows, judging = _present(ensemble, data[0], parts.train), _present(ensemble, data[1], parts.validation)
    guessed, judged = rows, judging
    if not bool(torch.isfinite(rows.targets[1]).any()):  # no cell's end is known: settings are chosen by the guesses
        guessed, judged = with_rul(rows, bounds[0] + left[0]), with_rul(judging, bounds[1] + left[1])
    spans = ensemble.heads()[0].base.spans
    beginning = Beginning(rows, bounds[0], left[0], choose(guessed, judged, spans), spans)
    generator = torch.Generator().manual_seed(seed)
    alike = parts.networks > 1 and not any(parts.withheld)  # else what they learn from, or their settings, differ
    for number, (heads, shown) in enumerate(zip(ensemble.heads(), Lessons.of(parts).teaches, strict=True)):
        heads.base.adopt(*beginning.fit(number, shown, generator if alike else None))
    return beginning


@torch.no_grad()
def _present(ensemble: Ensemble, data: Tensors, windows: Windows) -> Rows:
    z = ensemble.scaler(data.x, data.mask, data.cycle_index)
    present = ensemble.networks()[0].present(z, data.mask)
    return Rows(present, (data.targets.soh, data.targets.rul), torch.from_numpy(windows.cell))


def _left(windows: Windows, scale: TargetScale, end_of_life: float) -> Tensor:
    return torch.tensor(left_by_pace(windows, end_of_life) / scale.rul_scale, dtype=torch.float32)
