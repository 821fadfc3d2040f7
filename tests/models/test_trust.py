"""What a network adds is believed as far as it served on cells that it did not learn from."""

import numpy as np
import pytest
import torch

from batteries.splits import split
from batteries.windows import History
from models.ensemble import Ensemble
from models.hyperparameters import BaselineHyperparameters
from models.scaling import TargetScale
from models.trust import trust


def parts_and_scale(soh):
    """Five cells of constant health; in standardised units of mean 0 and deviation 1 it is `soh` itself."""
    rng = np.random.default_rng(0)
    cells = [
        History(f"c{i}", np.arange(20.0), rng.normal(size=(20, 2)), np.full(20, soh), np.full(20, np.nan), 1.0 + i)
        for i in range(5)
    ]
    return split(cells, 1, networks=2), TargetScale(0.0, 1.0, 1.0)


@pytest.mark.parametrize(("soh", "believed"), [(0.4, 0.4), (1.0, 1.0), (3.0, 1.0), (-1.0, 0.0)])
def test_is_the_share_that_was_wanted_and_neither_more_than_all_nor_less_than_nothing(soh, believed):
    parts, scale = parts_and_scale(soh)
    ensemble = Ensemble.of("baseline", BaselineHyperparameters(ensemble_size=2), 2)
    for heads in ensemble.heads():
        torch.nn.init.constant_(heads.mean.bias, 1.0)  # adds 1 to a regression that says 0
    trust(ensemble, parts, scale)
    for heads in ensemble.heads():
        assert heads.trust[0].item() == pytest.approx(believed, abs=1e-5)
        assert heads.trust[1].item() == 1.0  # nothing is known of lives
