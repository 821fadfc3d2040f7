"""Which of two models serves, on cells that neither was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from batteries.splits import MIN_CYCLES
from batteries.windows import fingerprint, make_windows
from models import promotion
from models.bundle import ModelBundle
from models.hyperparameters import HYPERPARAMETERS
from models.promotion import Cell, decide, errors
from models.scaling import TargetScale
from models.training import fit


class Silent:
    def log(self, level, message): ...

    def epoch(self, epoch): ...

    def should_stop(self):
        return False


def trained(cells, seed=0) -> ModelBundle:
    hyperparameters = HYPERPARAMETERS["baseline"](epochs=2, seed=seed, ensemble_size=1, window=4)
    return fit("baseline", hyperparameters, cells, observer=Silent()).bundle


def with_metadata(bundle: ModelBundle, **changes) -> ModelBundle:
    return ModelBundle(bundle.ensemble, bundle.scale, bundle.calibration, {**bundle.metadata, **changes})


def knowing(bundle: ModelBundle, *cells) -> ModelBundle:
    """The same model, as if exactly these cells had taught it."""
    names, records = [cell.cell for cell in cells], [fingerprint(cell) for cell in cells]
    nothing = {"validation_cells": [], "validation_fingerprints": [], "by_time": False}
    return with_metadata(bundle, train_cells=names, train_fingerprints=records, **nothing)


def worse(bundle: ModelBundle, by: float = 0.1) -> ModelBundle:
    """The same model, so much of SoH too low."""
    scale = TargetScale(bundle.scale.soh_mean - by, bundle.scale.soh_std, bundle.scale.rul_scale)
    metrics = {**bundle.metadata["metrics"], "soh_mae": bundle.metadata["metrics"]["soh_mae"] + by}
    return ModelBundle(bundle.ensemble, scale, bundle.calibration, {**bundle.metadata, "metrics": metrics})


def judges(*histories) -> list[Cell]:
    return [Cell(frozenset([history.cell]), lambda history=history: history) for history in histories]


@pytest.fixture(scope="module")
def cells(synthetic):
    """Ten cells; the first three are those that `good` has to do with."""
    return [synthetic(seed, 80) for seed in range(10)]


@pytest.fixture(scope="module")
def good(cells):
    """Two of the first three cells taught it."""
    return trained(cells[:3])


class TestDecide:
    def test_with_three_unknown_cells_the_lower_error_serves_however_few_cells_taught_it(self, good, cells):
        narrow, broad = knowing(good, cells[0]), knowing(worse(good), *cells[1:6])
        decision = decide(narrow, broad, judges(*cells[:9]))
        assert decision.promoted
        assert decision.cells == 3
        assert decision.champion_mae == pytest.approx(0.1, abs=0.02)
        assert decision.challenger_mae < 0.03
        assert "over 3 batteries that neither learned from" in decision.reason
        assert not decide(broad, narrow, judges(*cells[:9])).promoted

    @pytest.mark.parametrize("unknown", [1, 2])
    def test_with_fewer_a_model_of_fewer_cells_does_not_replace_one_of_more(self, unknown, good, cells):
        narrow, broad = knowing(good, *cells[:2]), knowing(worse(good), *cells[2:6])
        decision = decide(narrow, broad, judges(*cells[: 6 + unknown]))
        assert decision.challenger_mae < decision.champion_mae
        assert not decision.promoted
        assert "these are few, and it learned from 2 batteries, the champion from 4" in decision.reason

    def test_with_fewer_a_better_model_of_as_many_cells_takes_over_and_a_worse_one_of_more_does_not(self, good, cells):
        two, others = knowing(good, *cells[:2]), knowing(worse(good), *cells[2:4])
        assert decide(two, others, judges(*cells[:5])).promoted
        more = knowing(worse(good), *cells[1:4])
        decision = decide(more, two, judges(*cells[:5]))
        assert not decision.promoted
        assert decision.cells == 1

    def test_with_none_a_model_that_learned_from_more_cells_takes_over_and_no_other(self, good, cells):
        two, three = knowing(good, *cells[:2]), knowing(worse(good, by=0.001), *cells[1:4])
        decision = decide(three, two, judges(*cells[:4]))
        assert decision.promoted
        assert decision.reason == "no battery is unknown to both; it learned from 3 batteries, the champion from 2"
        assert not decide(two, three, judges(*cells[:4])).promoted
        assert not decide(two, knowing(worse(good), *cells[2:4]), judges(*cells[:4])).promoted

    def test_with_none_a_model_worse_than_a_guess_takes_no_place_however_much_taught_it(self, good, cells):
        decision = decide(knowing(worse(good, by=0.5), *cells[1:4]), knowing(good, cells[0]), [])
        assert not decision.promoted
        assert "the mean of what it learned from" in decision.reason

    def test_a_model_of_one_battery_is_judged_on_others_like_any(self, good, cells):
        alone = trained([cells[9]])
        assert alone.metadata["by_time"]
        assert decide(good, worse(alone), judges(*cells)).promoted
        assert not decide(worse(alone), good, judges(*cells)).promoted
        assert decide(good, worse(alone), judges(*cells)).cells == 7

    def test_of_two_models_of_one_battery_alone_the_last_stretch_of_it_decides(self, cells):
        alone = trained([cells[9]])
        assert decide(alone, worse(alone), judges(cells[9])).promoted
        assert not decide(worse(alone), alone, judges(cells[9])).promoted
        other = worse(trained([cells[8]]))
        assert not decide(alone, other, judges(*cells[8:])).promoted

    def test_of_two_models_of_one_battery_alone_the_one_of_its_longer_record_serves(self, cells):
        whole = cells[9]
        parts = {name: getattr(whole, name)[:50] for name in ("cycle_index", "features", "soh", "rul")}
        early = replace(whole, cell="earlier upload", **parts)
        late, first = worse(trained([whole]), by=0.001), trained([early])
        same = [Cell(frozenset([whole.cell, early.cell]), lambda: whole)]
        decision = decide(late, first, same)
        assert decision.promoted
        assert decision.reason == "of the battery that taught both, it learned from 56 cycles, the champion from 35"
        assert not decide(first, late, same).promoted
        assert not decide(late, first, judges(whole, early)).promoted  # two cells: nothing says which is better

    def test_as_good_as_the_champion_is_not_enough(self, good, cells):
        assert not decide(good, good, judges(*cells)).promoted

    def test_a_champion_whose_features_are_gone_cannot_stay(self, good):
        assert decide(good, with_metadata(good, feature_names=["old"]), []).promoted

    def test_the_newer_features_serve(self, good, cells):
        older = with_metadata(good, feature_version=-1)
        assert decide(worse(good), older, judges(*cells)).promoted
        assert not decide(older, worse(good), judges(*cells)).promoted


class TestErrors:
    def test_are_those_of_answers_about_every_cycle_a_cell_each(self, good, cells):
        found = errors([good, worse(good)], judges(*cells[5:8]))
        assert good.window > 1
        for model, column in zip((good, worse(good)), np.transpose(found), strict=True):
            every = [model.judge(make_windows([cell], model.window)) for cell in cells[5:8]]
            wanted = [np.abs(np.clip(one.soh, 0, 1) - np.clip(one.true_soh, 0, 1)).mean() for one in every]
            assert sorted(column) == pytest.approx(sorted(wanted), abs=0.001)

    @pytest.mark.parametrize("role", ["train", "validation"])
    @pytest.mark.parametrize("known", ["cells", "fingerprints"])
    def test_leave_out_what_taught_or_validated_any_by_name_and_by_record(self, role, known, good, cells):
        nothing = {f"{role}_{kind}": [] for role in ("train", "validation") for kind in ("cells", "fingerprints")}
        said = {"cells": cells[4].cell, "fingerprints": fingerprint(cells[4])}[known]
        ignorant = with_metadata(good, **nothing)
        assert len(errors([ignorant, ignorant], judges(*cells[3:6]))) == 3
        assert len(errors([ignorant, with_metadata(ignorant, **{f"{role}_{known}": [said]})], judges(*cells[3:6]))) == 2

    def test_a_cell_is_known_by_the_name_of_any_of_its_records_and_not_read_then(self, good, cells):
        def refuse():
            pytest.fail("read although it is known")

        [name, *_] = good.metadata["train_cells"]
        assert errors([good], [Cell(frozenset(["battery 77", name]), refuse)]) == []

    def test_leave_out_what_cannot_be_read_is_there_twice_or_is_too_short_to_judge(self, good, cells):
        short = replace(cells[7], soh=np.where(np.arange(80) < MIN_CYCLES - 1, cells[7].soh, np.nan))
        gone = Cell(frozenset(["gone"]), lambda: None)
        again = replace(cells[5], cell="again")
        assert len(errors([good], [gone, *judges(cells[5], again, short)])) == 1

    def test_ask_so_many_cells_and_cycles_at_most(self, good, cells, monkeypatch):
        monkeypatch.setattr(promotion, "MOST_CELLS", 4)
        asked, predict = [], ModelBundle.predict

        def counted(self, x, cycle_index):
            asked.append(len(x))
            return predict(self, x, cycle_index)

        monkeypatch.setattr(ModelBundle, "predict", counted)
        assert len(errors([good], judges(*cells))) == 4
        assert asked == [promotion.MOST_CYCLES] * 4
