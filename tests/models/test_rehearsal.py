"""Who answers, and what confidence is calibrated on: answers for teaching cells by models that do not know them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from batteries.splits import split
from batteries.windows import History
from models.base import Rows, Setting
from models.bundle import ModelBundle
from models.calibration import Calibration
from models.ensemble import Ensemble
from models.hyperparameters import BaselineHyperparameters
from models.lightning_modules import Tensors
from models.rehearsal import answering, excess, held_out, rehearsals
from models.starting import start, target_scale

NETWORKS = 3


def started(cells):
    """Networks over their regressions, not trained yet, of cells that fade at paces of their own."""
    rng = np.random.default_rng(0)
    histories = []
    for number in range(cells + 1):
        soh = 1 - (0.004 + 0.001 * number) * np.arange(40)
        features = np.stack([soh + 0.01 * rng.normal(size=40), rng.normal(size=40)], axis=1)
        histories.append(History(f"c{number}", np.arange(40.0), features, soh, np.full(40, np.nan), 1.0 + number))
    parts = split(histories, 1, networks=NETWORKS, test_cells=["c0"])
    scale = target_scale(parts.train, 0.8)
    ensemble = Ensemble.of("baseline", BaselineHyperparameters(ensemble_size=NETWORKS), 2, len(parts.withheld))
    data = Tensors.of(parts.train, scale), Tensors.of(parts.validation, scale)
    ensemble.scaler.fit(data[0].x[:, -1], data[0].cycle_index[:, -1])
    beginning = start(ensemble, parts, data, scale, end_of_life=0.8, seed=0)
    metadata = {"algorithm": "baseline", "window": 1, "feature_names": ["a", "b"]}
    return ModelBundle(ensemble, scale, Calibration.unknown(), metadata), parts, beginning


def regressions(bundle):
    """Weights that each network has for SoH."""
    return [list(heads.base.weight[0]) for heads in bundle.ensemble.heads()]


class TestAnswering:
    def test_networks_that_left_out_cells_answer_by_what_all_cells_tell(self):
        everyone, parts, beginning = started(6)
        every = torch.ones_like(beginning.rows.cell, dtype=torch.bool)
        wanted = [list(beginning.fit(k, every)[0][0].weight) for k in range(NETWORKS)]
        assert regressions(everyone) != wanted
        assert regressions(answering(everyone, parts, beginning)) == wanted

    def test_what_the_networks_learned_stays(self):
        everyone, parts, beginning = started(6)
        for number, heads in enumerate(everyone.ensemble.heads()):
            torch.nn.init.constant_(heads.mean.bias, 0.01 * number)
        told = answering(everyone, parts, beginning).ensemble.heads()
        assert [float(heads.mean.bias.detach()[0]) for heads in told] == pytest.approx([0.0, 0.01, 0.02])

    def test_networks_that_left_out_none_are_as_they_were(self):
        everyone, parts, beginning = started(2)
        assert regressions(answering(everyone, parts, beginning)) == regressions(everyone)[:NETWORKS]


class TestRehearsals:
    def test_what_is_held_out_leaves_no_trace_in_what_is_said_of_it(self):
        everyone, parts, beginning = started(6)
        for one in rehearsals(everyone, parts, beginning):
            (before,) = held_out([one], parts.train)
            known = torch.isin(beginning.rows.cell, torch.tensor(one.withheld))
            soh, rul = beginning.rows.targets
            other = Rows(beginning.rows.z, (torch.where(known, 7.0, soh), rul), beginning.rows.cell)
            changed = rehearsals(everyone, parts, replace(beginning, rows=other))
            (after,) = held_out([again for again in changed if again.withheld == one.withheld], parts.train)
            np.testing.assert_array_equal(after.soh, before.soh)
            np.testing.assert_array_equal(after.soh_sigma, before.soh_sigma)

    def test_each_part_is_answered_by_regressions_of_all_other_cells(self):
        everyone, parts, beginning = started(6)
        found = list(rehearsals(everyone, parts, beginning))
        assert [one.withheld for one in found] == list(parts.withheld)
        for one in found:
            shown = ~torch.isin(beginning.rows.cell, torch.tensor(one.withheld))
            assert regressions(one.bundle) == [list(beginning.fit(k, shown)[0][0].weight) for k in range(NETWORKS)]

    def test_of_many_rows_each_setting_of_soh_rehearses_once(self, monkeypatch):
        monkeypatch.setattr("models.rehearsal.MANY", 10)
        everyone, parts, beginning = started(6)
        rough, smooth, line = Setting(1e-4, width=0.3), Setting(1e-3, width=1.0), Setting(1e-3)
        chosen = replace(beginning, chosen=[(rough, rough), (rough, line), (smooth, rough)])
        for one in rehearsals(everyone, parts, chosen):
            shown = ~torch.isin(beginning.rows.cell, torch.tensor(one.withheld))
            assert regressions(one.bundle) == [list(chosen.fit(k, shown)[0][0].weight) for k in (0, 2)]

    def test_a_cell_is_newer_to_who_does_not_know_it(self):
        everyone, parts, beginning = started(6)
        bundle = everyone.only(*range(NETWORKS))
        for one in rehearsals(everyone, parts, beginning):
            (said,) = held_out([one], parts.train)
            knowing = bundle.judge(parts.train[np.isin(parts.train.cell, one.withheld)])
            assert said.soh_sigma.mean() > one.excess * knowing.soh_sigma.mean()

    def test_of_two_cells_networks_of_their_own_rehearse(self):
        everyone, parts, beginning = started(2)
        found = list(rehearsals(everyone, parts, beginning))
        assert [one.withheld for one in found] == [(1,), (2,)]
        for number, one in enumerate(found):
            (network,) = one.bundle.ensemble.members
            assert network is everyone.ensemble.members[NETWORKS + number]
            assert one.excess == pytest.approx((2 / 1.5) ** 0.5)  # what one cell teaches, beside what two do

    def test_of_one_cell_there_is_none(self):
        assert list(rehearsals(*started(1))) == []


def test_excess_falls_with_every_cell_more():
    assert excess(5, 5) == 1.0
    assert excess(1, 10) == pytest.approx((2 / 1.1) ** 0.5)
    assert excess(9, 10) < excess(5, 6) < excess(1, 2)
