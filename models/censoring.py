"""Cells that outlived their records: how long they live on, as far as it can be told.

Of such a cell's RUL one number alone is unknown: what is left after its last cycle. Every cycle before it has as much
more as was seen. Two witnesses tell that number: the pace at which the cell itself faded, and a regression on cells
whose end is known. They are weighed by their variances and cut off at zero, since the cell was alive: the expectation
step of the maximum likelihood of censored data (J. Tobin, Econometrica 26(1), 1958; J. Buckley & I. James,
Biometrika 66(3), 1979), in turn with the regression.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batteries.windows import Windows
from models.base import CENTRES, MOST_ROWS, Rows, Setting, fit_one

HORIZON = 3.0  # lives seen within which a cell ends even where no fade can be seen: ageing quickens
NOTHING = 0.02  # of the life seen: least that is left
PACE_DOUBT = 0.5  # of what the cell's own pace tells
PEER_DOUBT = 0.3  # typical lives, of what other cells tell
ROUNDS = 3


def left_by_pace(windows: Windows, end_of_life: float) -> NDArray[np.float64]:
    """Cycles (B,) that each censored cell lives on after its record, by the pace of its own fade; NaN elsewhere.

    A straight line through the second half of the known SoH; its pace is raised by what ends a cell within `HORIZON`
    times the life seen.
    """
    left = np.full(len(windows), np.nan)
    index, censored = windows.cycle_index[:, -1], np.isfinite(windows.rul_lower_bound)
    for number in np.unique(windows.cell[censored]):
        rows = np.flatnonzero(censored & (windows.cell == number))
        last, first = (index[rows] + windows.rul_lower_bound[rows]).max(), index[rows].min()
        seen = last - first + 1
        known = rows[np.isfinite(windows.soh[rows])]
        late = known[len(known) // 2 :]
        rate = 1 / (HORIZON * seen)
        if len(late) > 1 and np.ptp(index[late]) > 0:
            slope, offset = np.polyfit(index[late], windows.soh[late], 1)
            rate += max(-slope, 0.0) / max(slope * last + offset - end_of_life, 1e-6)
        left[rows] = max(1 / rate, NOTHING * seen)
    return left


def with_rul(rows: Rows, rul: Tensor) -> Rows:
    """Give the same rows with other lives (B,)."""
    return replace(rows, targets=(rows.targets[0], rul))


def completed(rows: Rows, bound: Tensor, left: Tensor, setting: Setting, spans: int) -> Tensor:
    """RUL (B,) as known, and as expected of cells that outlived their records; NaN where nothing tells it.

    `bound` (B,) is what each cycle's cell was seen to live on, `left` (B,) what it lives on after that by its own pace.
    """
    rul = rows.targets[1]
    filled = torch.where(torch.isfinite(rul), rul, bound + left)
    thin = torch.linspace(0, len(rul) - 1, min(len(rul), MOST_ROWS)).round().long()
    some, seen = rows[thin], bound[thin]
    cells = list(_censored(some.cell, seen))
    if not cells or not bool(torch.isfinite(some.targets[1]).any()):
        return filled
    centres, target = some.thinned(CENTRES[0]).z, some.targets[1].clone()
    for _ in range(ROUNDS):
        told = fit_one(some.z, target, setting, spans=spans, centres=centres)[0](some.z) - seen
        for number, late in cells:
            after = expected_left(float(told[late].mean()), float(left[thin][late[0]]))
            for lives, where, lived in ((target, some.cell, seen), (filled, rows.cell, bound)):
                mine = (where == number) & torch.isfinite(lived)
                lives[mine] = lived[mine] + after
    return filled


def _censored(cell: Tensor, bound: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Number of each cell that outlived its record, and the rows of its second half."""
    for number in torch.unique(cell[torch.isfinite(bound)]).tolist():
        rows = torch.nonzero((cell == number) & torch.isfinite(bound))[:, 0]
        yield number, rows[bound[rows] <= bound[rows].median()]


def expected_left(by_peers: float, by_pace: float) -> float:
    """Mean of what is left, in typical lives: a normal variable of two witnesses, cut off at zero."""
    precision: tuple[float, float] = 1 / PEER_DOUBT**2, 1 / (PACE_DOUBT * by_pace + 1e-3) ** 2
    mean = (by_peers * precision[0] + by_pace * precision[1]) / sum(precision)
    sigma = 1 / math.sqrt(sum(precision))
    ratio = mean / sigma
    if ratio < -6:  # far below: the density has fallen to nothing, its tail is exponential
        return -sigma / ratio
    density = math.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    return mean + sigma * density / (0.5 * math.erfc(-ratio / math.sqrt(2)))
