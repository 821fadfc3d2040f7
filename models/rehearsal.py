"""The networks that answer, and what they would have said of a teaching cell had it not taught.

Networks learn with some cells left out in turn. Once they have learned, those that answer get the regressions of all
cells: a cell more tells more than another mean. A part of the cells that was left out is answered, to calibrate
confidence on, by the network that did not learn from it, over regressions of all other cells, with every setting in
turn, as in the answer: both its error and its doubt are then those of a new cell. The doubt of networks that know a
cell would be too small.
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
from models.network import Network
from models.starting import Beginning

MANY = 10_000  # rows, of which a regression takes long


@dataclass(frozen=True)
class Rehearsal:
    """A model that never saw some cells. `excess`: by how much it errs more than one that also had them to learn."""

    withheld: tuple[int, ...]
    bundle: ModelBundle
    excess: float


def answering(everyone: ModelBundle, parts: Split, beginning: Beginning) -> ModelBundle:
    """Give the networks that answer, over regressions of all cells."""
    bundle = everyone.only(*range(parts.networks))
    if not _crossed(parts):  # none of them left out a cell
        return bundle
    shown = torch.ones_like(beginning.rows.cell, dtype=torch.bool)
    fits = [beginning.fit(number, shown) for number in range(min(parts.networks, len(beginning.chosen)))]
    networks = [copy.deepcopy(network) for network in bundle.ensemble.networks()]
    for number, network in enumerate(networks):
        network.heads.base.adopt(*fits[number % len(fits)])
    return _with(networks, everyone)


def rehearsals(everyone: ModelBundle, parts: Split, beginning: Beginning) -> Iterator[Rehearsal]:
    """Make one for each part of the teaching cells that a network left out; none where none did."""
    cells = len(np.unique(parts.train.cell))
    for number, withheld in enumerate(parts.withheld):
        if withheld:  # where not crossed, networks of their own rehearse, see `batteries.splits`
            one = _without(everyone, number, parts, beginning) if _crossed(parts) else everyone.only(number)
            yield Rehearsal(withheld, one, excess(cells - len(withheld), cells))


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


def _crossed(parts: Split) -> bool:
    return parts.networks == len(parts.withheld) and any(parts.withheld)


def _without(everyone: ModelBundle, number: int, parts: Split, beginning: Beginning) -> ModelBundle:
    shown = ~torch.isin(beginning.rows.cell, torch.tensor(parts.withheld[number]))
    networks = []
    for setting in _rehearsing(beginning, parts.networks):
        network = copy.deepcopy(everyone.ensemble.networks()[number])
        network.heads.base.adopt(*beginning.fit(setting, shown))
        networks.append(network)
    return _with(networks, everyone)


def _rehearsing(beginning: Beginning, networks: int) -> list[int]:
    """Numbers of the settings that rehearse: those that answer; of many rows each setting of SoH once."""
    answering = beginning.chosen[:networks]
    if len(beginning.rows.z) <= MANY:
        return list(range(len(answering)))
    first = {soh: number for number, (soh, _) in reversed(list(enumerate(answering)))}
    return sorted(first.values())


def _with(networks: Sequence[Network], other: ModelBundle) -> ModelBundle:
    """Give a bundle of these networks, otherwise the same."""
    return ModelBundle(Ensemble(other.ensemble.scaler, networks), other.scale, other.calibration, other.metadata)
