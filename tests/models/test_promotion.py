"""Which of two models serves, on cells that neither was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from batteries.windows import fingerprint
from models.bundle import ModelBundle
from models.hyperparameters import HYPERPARAMETERS
from models.promotion import decide, unseen
from models.scaling import TargetScale
from models.training import fit


class Silent:
    def log(self, level, message): ...

    def epoch(self, epoch): ...

    def should_stop(self):
        return False


def trained(cells, seed=0):
    return fit("baseline", HYPERPARAMETERS["baseline"](epochs=2, seed=seed, ensemble_size=1), cells, observer=Silent())


@pytest.fixture(scope="module")
def fitted(synthetic):
    return trained([synthetic(seed, 80) for seed in range(3)])


def with_metadata(bundle: ModelBundle, **changes) -> ModelBundle:
    return ModelBundle(bundle.ensemble, bundle.scale, bundle.calibration, {**bundle.metadata, **changes})


def worse(bundle: ModelBundle) -> ModelBundle:
    """The same model, 0.1 of SoH too high."""
    scale = TargetScale(bundle.scale.soh_mean + 0.1, bundle.scale.soh_std, bundle.scale.rul_scale)
    return ModelBundle(bundle.ensemble, scale, bundle.calibration, bundle.metadata)


class TestDecide:
    def test_the_first_model_serves(self, fitted):
        assert decide(fitted, None).promoted

    def test_the_better_one_takes_over_and_both_errors_are_told(self, fitted):
        decision = decide(fitted, worse(fitted.bundle))
        assert decision.promoted
        assert decision.champion_mae == pytest.approx(0.1, abs=0.02)
        assert decision.challenger_mae < 0.05

    def test_the_worse_one_does_not(self, fitted):
        challenger = replace(fitted, bundle=worse(fitted.bundle))
        assert not decide(challenger, fitted.bundle).promoted

    def test_a_champion_that_saw_every_held_out_cell_stays(self, fitted):
        knows_all = with_metadata(worse(fitted.bundle), train_cells=[f"synthetic {seed}" for seed in range(3)])
        decision = decide(fitted, knows_all)
        assert not decision.promoted
        assert decision.reason == "the champion was trained on every cell held out here"

    def test_a_model_of_one_battery_takes_no_place_from_one_of_others(self, fitted, synthetic):
        alone = trained([synthetic(7, 80)])
        assert alone.bundle.metadata["by_time"]
        decision = decide(alone, worse(fitted.bundle))
        assert not decision.promoted
        assert decision.challenger_mae is None

    def test_a_better_model_of_the_same_one_battery_takes_over(self, synthetic):
        alone = trained([synthetic(7, 80)])
        assert decide(alone, worse(alone.bundle)).promoted

    def test_a_champion_whose_features_are_gone_cannot_stay(self, fitted):
        assert decide(fitted, with_metadata(fitted.bundle, feature_names=["old"])).promoted

    def test_a_champion_of_older_features_cannot_stay(self, fitted):
        older = with_metadata(fitted.bundle, feature_version=-1)
        assert decide(replace(fitted, bundle=worse(fitted.bundle)), older).promoted


class TestUnseen:
    @pytest.mark.parametrize("role", ["train", "validation"])
    def test_a_record_imported_again_under_another_name_is_not_new(self, role, synthetic):
        cells = [synthetic(seed, 80) for seed in range(3)]
        fitted = trained([replace(cell, cell=f"again {cell.cell}") for cell in cells])
        nothing = {"train_cells": [], "validation_cells": [], "train_fingerprints": [], "validation_fingerprints": []}
        records = {**nothing, f"{role}_fingerprints": [fingerprint(cell) for cell in cells]}
        assert len(unseen(fitted, with_metadata(fitted.bundle, **records))) == 0
        assert len(unseen(fitted, with_metadata(fitted.bundle, **nothing))) == 80

    def test_leaves_out_what_taught_or_validated_the_champion(self, synthetic):
        fitted = trained([synthetic(seed, 80) for seed in range(10)])
        first, second = fitted.split.test_cells
        nothing = {"train_fingerprints": [], "validation_fingerprints": []}
        champion = with_metadata(fitted.bundle, train_cells=[first], validation_cells=[], **nothing)
        names = {fitted.cells[number] for number in np.unique(unseen(fitted, champion).cell)}
        assert names == {second}
        champion = with_metadata(fitted.bundle, train_cells=[], validation_cells=[second], **nothing)
        names = {fitted.cells[number] for number in np.unique(unseen(fitted, champion).cell)}
        assert names == {first}

    def test_the_last_stretch_of_one_record_is_new_to_both(self, synthetic):
        first, again = trained([synthetic(0, 80)]), trained([synthetic(0, 80)], seed=1)
        assert len(unseen(again, first.bundle)) == len(again.split.test)
        longer = trained([synthetic(0)])
        assert len(unseen(longer, first.bundle)) == 0
