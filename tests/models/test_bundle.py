"""What a stored model answers."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from batteries.cycles import discharge_capacities_ah
from batteries.features import FEATURE_NAMES, cycle_features
from batteries.recordings import Cycle
from batteries.samples import synthetic_cell
from batteries.windows import make_windows
from models.bundle import ModelBundle, UnreadableBundle
from models.hyperparameters import HYPERPARAMETERS
from models.training import fit


class Silent:
    def log(self, level, message): ...

    def epoch(self, epoch): ...

    def should_stop(self):
        return False


@pytest.fixture(scope="module", params=["baseline", "bilstm", "deephpm"])
def bundle(request, synthetic):
    hyperparameters = HYPERPARAMETERS[request.param](epochs=15)
    cells = [synthetic(seed, 100) for seed in range(3)]
    return fit(request.param, hyperparameters, cells, observer=Silent(), feature_names=FEATURE_NAMES).bundle


class TestSave:
    def test_what_is_read_back_answers_the_same(self, bundle, synthetic, tmp_path):
        bundle.save(tmp_path / "model.pth")
        again = ModelBundle.load(tmp_path / "model.pth")
        x = [synthetic(3, 100).features]
        assert again.predict(x) == bundle.predict(x)
        assert again.metadata == bundle.metadata

    def test_the_file_holds_no_code(self, bundle, tmp_path):
        bundle.save(tmp_path / "model.pth")
        content = torch.load(tmp_path / "model.pth", weights_only=True)
        assert content["metadata"]["algorithm"] == bundle.algorithm

    @pytest.mark.parametrize("content", [b"", b"not a model", pickle.dumps({"format": 1}, protocol=2)])
    def test_another_file_is_refused(self, content, tmp_path):
        (tmp_path / "model.pth").write_bytes(content)
        with pytest.raises(UnreadableBundle, match=r"model\.pth is not a model of this product"):
            ModelBundle.load(tmp_path / "model.pth")


class TestPredict:
    def test_stays_within_what_is_possible(self, bundle):
        wild = np.random.default_rng(0).normal(scale=1e6, size=(20, 5, len(FEATURE_NAMES)))
        for answer in bundle.predict(list(wild)):
            assert 0 <= answer.soh <= 1
            assert answer.rul >= 0
            assert 0 < answer.confidence < 1
            assert answer.soh_interval[0] <= answer.soh <= answer.soh_interval[1]

    def test_above_the_end_of_life_at_least_a_cycle_is_left(self, bundle, synthetic):
        dead = synthetic(1, 100)
        immortal = ModelBundle(
            bundle.ensemble, bundle.scale, bundle.calibration, {**bundle.metadata, "end_of_life": 0.0}
        )
        told, alive = (one.predict([dead.features], [dead.cycle_index])[0] for one in (bundle, immortal))
        assert dead.soh[-1] < 0.8
        assert told.rul < 1
        assert alive.rul == 1

    def test_a_rough_life_holds_zero_once_the_end_is_past(self, bundle, synthetic):
        dead = synthetic(1, 100)
        rough = ModelBundle(
            bundle.ensemble, bundle.scale, replace(bundle.calibration, rul=(), lacking=()), bundle.metadata
        )
        past, young = rough.predict([dead.features, dead.features[:10]], [dead.cycle_index, dead.cycle_index[:10]])
        assert past.soh < 0.8 < young.soh
        assert past.rul_interval == (0.0, past.rul * 4)
        assert young.rul_interval == (young.rul / 4, young.rul * 4)

    def test_little_is_left_to_a_cell_as_surely_as_its_end_is_past(self, bundle, synthetic):
        x = [synthetic(3, 100).features[:30]]

        def ends_at(end_of_life):
            facts = {**bundle.metadata, "end_of_life": end_of_life}
            return ModelBundle(bundle.ensemble, bundle.scale, bundle.calibration, facts).predict(x)[0]

        living = ends_at(0.0)
        radius = (living.soh_interval[1] - living.soh_interval[0]) / 2
        assert living.rul > 10
        assert ends_at(living.soh + 1e-6).rul == pytest.approx(living.rul, rel=1e-2)
        assert ends_at(living.soh + radius).rul == pytest.approx(0.1 * living.rul, rel=1e-2)  # 90 % are less far off
        longest = living.rul_interval[1] - living.rul
        assert ends_at(living.soh + radius).rul_interval == pytest.approx((0.0, 0.1 * (living.rul + longest)), rel=1e-2)
        assert ends_at(living.soh + 5 * radius).rul < 1e-6 * living.rul

    def test_does_not_depend_on_what_else_is_asked(self, bundle, synthetic):
        cell = synthetic(3, 100)
        items = [cell.features[:1], cell.features[:40], cell.features[:7]]
        together = bundle.predict(items)
        for item, answer in zip(items, together, strict=True):
            alone = bundle.predict([item])[0]
            assert alone.soh == pytest.approx(answer.soh, abs=1e-6)
            assert alone.rul == pytest.approx(answer.rul, abs=1e-3)
            assert alone.confidence == pytest.approx(answer.confidence, abs=1e-4)
            assert alone.warnings == answer.warnings

    def test_looks_back_no_further_than_its_window(self, bundle, synthetic):
        cell = synthetic(3, 100)
        bent = np.array(cell.features[:60])
        bent[: 60 - bundle.window] = 1e3
        assert bundle.predict([bent]) == bundle.predict([cell.features[:60]])

    def test_a_single_cycle_is_enough(self, bundle, synthetic):
        cell = synthetic(3, 100)
        for row in (5, 50, 95):
            answer = bundle.predict([cell.features[row : row + 1]], [np.array([np.nan])])[0]
            assert answer.soh == pytest.approx(cell.soh[row], abs=0.04)

    def test_without_time_and_temperature_it_is_still_sane(self, bundle):
        recording = synthetic_cell(cycles=100, nominal_capacity_ah=1.1, seed=3)
        soh = discharge_capacities_ah(recording, 1.1) / 1.1
        for row in (5, 50, 95):
            cycle = recording.cycles[row]
            nothing = np.full_like(cycle.time_s, np.nan)
            bare = Cycle(cycle.index, nothing, cycle.voltage_v, cycle.current_a, nothing, None)
            answer = bundle.predict([cycle_features(bare, 1.1)[None]])[0]
            assert answer.soh == pytest.approx(soh[row], abs=0.1)

    def test_knows_less_without_time_says_so_and_its_interval_still_holds(self, bundle, synthetic):
        cell = synthetic(3, 100)
        timeless = np.array(cell.features)
        names = [n for n in FEATURE_NAMES if n.endswith(("_h", "throughput")) or "_band_" in n or n == "cv_share"]
        names += [n for n in FEATURE_NAMES if n.startswith("load_") and n != "load_rest_v"]
        timeless[:, [FEATURE_NAMES.index(name) for name in names]] = np.nan
        rows = range(0, 100, 5)
        whole, bare = (bundle.predict([x[row : row + 1] for row in rows]) for x in (cell.features, timeless))
        assert np.mean([a.confidence for a in bare]) < np.mean([a.confidence for a in whole])
        widths = [[high - low for low, high in (a.soh_interval for a in asked)] for asked in (whole, bare)]
        assert np.mean(widths[1]) > 2 * np.mean(widths[0])
        held = [a.soh_interval[0] <= cell.soh[row] <= a.soh_interval[1] for a, row in zip(bare, rows, strict=True)]
        assert np.mean(held) >= 0.8
        assert any(warning.startswith(f"Unknown: {len(names)} of 39 features") for warning in bare[0].warnings)
        assert not any(warning.startswith("Unknown") for warning in whole[0].warnings)

    def test_knows_nothing_of_a_cycle_without_features(self, bundle, synthetic):
        known = synthetic(3, 100).features[:1]
        with pytest.raises(ValueError, match="item 1: none of the features is known"):
            bundle.predict([known, np.full_like(known, np.nan)])

    def test_sigma_follows_the_input(self, bundle, synthetic):
        judged = bundle.judge(make_windows([synthetic(3, 100)], bundle.window))
        assert np.std(judged.soh_sigma) > 0.02 * np.mean(judged.soh_sigma)

    def test_knows_less_far_from_what_it_learned(self, bundle, synthetic):
        near = synthetic(3, 100).features[50:51]
        far = near * 1.5
        known, unknown = bundle.predict([near, far])
        assert unknown.confidence < known.confidence
        assert any(warning.startswith("Outside the training range") for warning in unknown.warnings)

    def test_warns_of_another_chemistry_and_of_few_cells(self, bundle, synthetic):
        taught = bundle.metadata["train_windows"] // 2  # of each of the two cells that a network rehearsed without
        x = [synthetic(0, 100).features] * 2
        same, other = bundle.predict(x, chemistry=["lfp", "NMC"])
        assert not any("chemistry" in warning for warning in same.warnings)
        assert "Other chemistry: the model was trained on LFP, not NMC." in other.warnings
        assert "Calibrated on 3 held-out cells; at least 10 are wanted." in other.warnings
        assert other.calibration == {"kind": "held-out cells", "cells": 3, "windows": 100 + 2 * taught}

    def test_nothing_asked_nothing_answered(self, bundle):
        assert bundle.predict([]) == []

    @pytest.mark.parametrize("shape", [(0, len(FEATURE_NAMES)), (3, len(FEATURE_NAMES) + 1), (len(FEATURE_NAMES),)])
    def test_refuses_cycles_of_another_shape(self, bundle, shape):
        with pytest.raises(ValueError, match="item 1: expected cycles of"):
            bundle.predict([np.zeros((2, len(FEATURE_NAMES))), np.zeros(shape)])

    def test_refuses_indices_of_another_length(self, bundle):
        with pytest.raises(ValueError, match="item 0: 2 cycles, but cycle indices"):
            bundle.predict([np.zeros((2, len(FEATURE_NAMES)))], [np.arange(3)])
