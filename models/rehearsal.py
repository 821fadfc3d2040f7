"""What would be said of a teaching cell if it had not taught: answers that confidence is calibrated on.

The networks that answer a new cell are a mean over regressions that each left out one part of the cells, and know how
far the cell is from those. So a part that is judged here is answered by as many regressions, each of which leaves it
out and another part too (jackknife+ after Barber et al., Ann. Stat. 49(1), 2021), over the one network that did not
learn from it: both its error and its doubt are those of a new cell. One network alone errs more than the mean of all,
and the doubt of all, most of whom know the cell, is too small.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from batteries.splits import Split
from batteries.windows import Windows
from models.bundle import ModelBundle
from models.ensemble import Ensemble
from models.metrics import Judged
from models.starting import Beginning

OTHERS = 5  # parts, at most, that are left out beside the one that is judged
OTHERS_OF_MANY = 2  # where a regression takes long
MANY = 10_000  # rows


@dataclass(frozen=True)
class Rehearsal:
    """A model that never saw some cells. `excess`: by how much it errs more than one that also had them to learn."""

    withheld: tuple[int, ...]
    bundle: ModelBundle
    excess: float


def rehearsals(everyone: ModelBundle, parts: Split, beginning: Beginning) -> list[Rehearsal]:
    """Make one for each part of the teaching cells that a network left out; none where none did."""
    cells = len(np.unique(parts.train.cell))
    crossed = parts.networks == len(parts.withheld)  # else networks of their own rehearse, see `batteries.splits`
    found = []
    for number, withheld in enumerate(parts.withheld):
        if withheld:
            one = _without(everyone, number, parts, beginning) if crossed else everyone.only(number)
            found.append(Rehearsal(withheld, one, excess(cells - len(withheld), cells)))
    return found


def excess(few: int, many: int) -> float:
    """Ratio of the errors for a new cell of models of `few` and of `many` cells.

    Each cell has something of its own, of one variance; the mean of n cells is off by 1 + 1 / n of it for the next.
    """
    return math.sqrt((1 + 1 / few) / (1 + 1 / many))


def held_out(rehearsed: Sequence[Rehearsal], train: Windows) -> Iterator[Judged]:
    """What each rehearsal says of the windows of `train` that it did not learn from."""
    for one in rehearsed:
        windows = train[np.isin(train.cell, one.withheld)]
        if len(windows):
            said = one.bundle.judge(windows)
            yield replace(said, soh_sigma=said.soh_sigma * one.excess, rul_sigma=said.rul_sigma * one.excess)


def _without(everyone: ModelBundle, number: int, parts: Split, beginning: Beginning) -> ModelBundle:
    withheld, ensemble = parts.withheld, everyone.ensemble
    most = OTHERS if len(beginning.rows.z) <= MANY else OTHERS_OF_MANY
    others = [(number + step) % len(withheld) for step in range(1, len(withheld))][:most]
    members = []
    for other in others or [number]:
        shown = ~torch.isin(beginning.rows.cell, torch.tensor([*withheld[number], *withheld[other]]))
        network = copy.deepcopy(ensemble.networks()[number])
        network.heads.base.adopt(*beginning.fit(other, shown))
        members.append(network)
    return ModelBundle(Ensemble(ensemble.scaler, members), everyone.scale, everyone.calibration, everyone.metadata)
