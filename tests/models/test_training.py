"""Training learns, reports, stops, resumes, and says what is wrong with the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from batteries.features import FEATURE_NAMES
from batteries.windows import History
from models.base import Setting
from models.hyperparameters import HYPERPARAMETERS
from models.training import Stopped, TrainingFailed, UnusableData, fit

ALGORITHMS = ("baseline", "bilstm", "deephpm")


def trained(algorithm, cells, observer, checkpoint_dir=None, **asked):
    hyperparameters = HYPERPARAMETERS[algorithm](**asked)
    return fit(
        algorithm,
        hyperparameters,
        cells,
        observer=observer,
        checkpoint_dir=checkpoint_dir,
        feature_names=FEATURE_NAMES,
        feature_version=1,
    )


def cut(cell, cycles):
    """The record as it was after so many cycles, the end of life not in sight."""
    rows = slice(cycles)
    return History(
        cell.cell, cell.cycle_index[rows], cell.features[rows], cell.soh[rows], np.full(cycles, np.nan),
        cell.nominal_capacity_ah, cell.chemistry,
    )  # fmt: skip


def losses(epochs):
    return [(epoch.epoch, epoch.train_loss, epoch.val_loss) for epoch in epochs]


class TestLearning:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_on_synthetic_cells_beats_the_training_mean_many_times_over(self, algorithm, synthetic, recorder):
        fitted = trained(algorithm, [synthetic(seed, 100) for seed in range(3)], recorder(), epochs=10)
        assert fitted.metrics["soh_mae"] < 0.3 * fitted.metrics["soh_mae_training_mean"]

    @pytest.mark.parametrize(("algorithm", "epochs"), [("baseline", 20), ("bilstm", 50), ("deephpm", 15)])
    def test_on_real_cells_it_beats_the_training_mean(self, algorithm, epochs, nasa, recorder):
        fitted = trained(algorithm, nasa, recorder(), epochs=epochs)
        assert fitted.metrics["soh_mae"] < 0.6 * fitted.metrics["soh_mae_training_mean"]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_one_battery_is_enough(self, algorithm, synthetic, recorder):
        cell = synthetic(0)
        fitted = trained(algorithm, [cell], recorder(), epochs=15)
        answer = fitted.bundle.predict([cell.features], [cell.cycle_index])[0]
        assert fitted.split.by_time
        assert answer.soh == pytest.approx(cell.soh[-1], abs=0.03)
        assert fitted.bundle.calibration.kind == "time"

    def test_training_itself_lowers_the_loss(self, recorder, monkeypatch):
        # where the regression is a straight line, which cannot follow a parabola, the network does
        line_alone = [(Setting(1e-3), Setting(1e-3))]
        monkeypatch.setattr("models.starting.choose", lambda *_: line_alone)
        line = np.linspace(-1, 1, 120)
        rng = np.random.default_rng(0)
        cells = [
            History(f"c{i}", np.arange(120.0), rng.permutation(line)[:, None], np.ones(120), np.full(120, np.nan))
            for i in range(3)
        ]
        cells = [
            History(c.cell, c.cycle_index, c.features, 0.7 + 0.3 * np.square(c.features[:, 0]), c.rul) for c in cells
        ]
        watching = recorder()
        fit(
            "baseline",
            HYPERPARAMETERS["baseline"](epochs=40, learning_rate=0.01, ensemble_size=1),
            cells,
            observer=watching,
        )
        assert watching.epochs[-1].val_loss < 0.2 * watching.epochs[0].val_loss


def changed(cell, start=0):
    """The same cell with another life from row `start` on, and an end 5 cycles sooner."""
    features, soh, rul = np.array(cell.features), np.array(cell.soh), np.array(cell.rul)
    features[start:] += 1.0 + np.arange(features.shape[1])
    soh[start:] -= 0.3
    rul[:] = np.maximum(rul - 5, 0)
    return History(cell.cell, cell.cycle_index, features, soh, rul, cell.nominal_capacity_ah, cell.chemistry)


def weights(fitted):
    return {**fitted.bundle.ensemble.state_dict(), "soh_mean": torch.tensor(fitted.bundle.scale.soh_mean)}


class TestLeakage:
    """Whatever the cycles of the test are, the model is the same to the last bit."""

    @pytest.mark.parametrize("count", [3, 5])
    def test_a_test_cell_leaves_no_trace_in_the_model(self, count, synthetic, recorder):
        cells = [synthetic(seed, 80) for seed in range(count)]
        first = trained("bilstm", cells, recorder(), epochs=2)
        others = [changed(cell) if cell.cell in first.split.test_cells else cell for cell in cells]
        second = trained("bilstm", others, recorder(), epochs=2)
        assert second.metrics["soh_mae"] != first.metrics["soh_mae"]
        assert losses(first.epochs) == losses(second.epochs)  # what the epoch is chosen by
        for name, value in weights(first).items():
            assert torch.equal(value, weights(second)[name]), name

    def test_the_last_stretch_of_one_battery_leaves_no_trace_in_the_model(self, synthetic, recorder):
        # 85 % of 120 cycles is 102: rows from 102 on test, and the end of life is among them
        whole = synthetic(0)
        cell = History(whole.cell, *(a[:120] for a in (whole.cycle_index, whole.features, whole.soh, whole.rul)))
        assert 102 + 5 < np.flatnonzero(cell.rul == 0)[0] < 120
        first = trained("bilstm", [cell], recorder(), epochs=2)
        second = trained("bilstm", [changed(cell, start=102)], recorder(), epochs=2)
        assert second.metrics["soh_mae"] != first.metrics["soh_mae"]
        for name, value in weights(first).items():
            assert torch.equal(value, weights(second)[name]), name

    def test_validation_chooses_the_epoch_and_does_not_teach(self, synthetic, recorder):
        # of 150 cycles, rows 105 … 127 validate; the line's settings are theirs to choose, the scaler is not
        first = trained("bilstm", [synthetic(0)], recorder(), epochs=1)
        second = trained("bilstm", [changed(synthetic(0), start=105)], recorder(), epochs=1)
        for name in ("scaler.mean", "scaler.std", "scaler.low", "scaler.high", "scaler.covariance", "soh_mean"):
            assert torch.equal(weights(first)[name], weights(second)[name]), name


class TestReporting:
    def test_every_epoch_is_told_once_in_order(self, synthetic, recorder):
        watching = recorder()
        fitted = trained("bilstm", [synthetic(0)], watching, epochs=4, ensemble_size=1)
        assert [(epoch.epoch, epoch.total) for epoch in watching.epochs] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert fitted.epochs == watching.epochs
        best = min(fitted.epochs, key=lambda epoch: epoch.val_loss)
        assert fitted.metrics["best_epoch"] == best.epoch
        assert (fitted.metrics["train_loss"], fitted.metrics["val_loss"]) == (best.train_loss, best.val_loss)

    def test_a_split_in_time_is_said(self, synthetic, recorder):
        watching = recorder()
        fitted = trained("baseline", [synthetic(0)], watching, epochs=1)
        assert any(message.startswith("Split in time") for _, message in watching.lines)
        assert fitted.bundle.metadata["by_time"] is True

    def test_early_stopping_happens_only_on_demand_and_is_said(self, synthetic, recorder):
        watching = recorder()
        trained("baseline", [synthetic(0)], watching, epochs=200, patience=2, learning_rate=0.1)
        last = watching.epochs[-1].epoch
        assert last < 200
        assert any(message.startswith(f"Early stopping after epoch {last} of 200") for _, message in watching.lines)

    def test_writes_nothing_beside_the_checkpoint(self, synthetic, recorder, tmp_path, monkeypatch, capfd):
        monkeypatch.chdir(tmp_path)
        trained("baseline", [synthetic(0)], recorder(), epochs=2, checkpoint_dir=tmp_path / "kept")
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["last.ckpt"]
        assert "GPU" not in "".join(capfd.readouterr())

    def test_pictures_are_png(self, synthetic, recorder):
        figures = trained("baseline", [synthetic(0)], recorder(), epochs=2).figures
        assert set(figures) == {"loss.png", "soh.png", "rul.png", "reliability.png"}
        assert all(content.startswith(b"\x89PNG") for content in figures.values())


class TestRepeating:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_the_same_seed_gives_the_same_numbers(self, algorithm, synthetic, recorder):
        first, second = (trained(algorithm, [synthetic(0)], recorder(), epochs=3, seed=5) for _ in range(2))
        assert losses(first.epochs) == losses(second.epochs)
        assert first.bundle.predict([synthetic(0).features]) == second.bundle.predict([synthetic(0).features])

    def test_another_seed_gives_others(self, synthetic, recorder):
        first, second = (trained("bilstm", [synthetic(0)], recorder(), epochs=2, seed=seed) for seed in (1, 2))
        assert losses(first.epochs) != losses(second.epochs)

    def test_leaves_torch_as_it_was(self, synthetic, recorder):
        torch.manual_seed(3)
        expected = torch.rand(3)
        torch.manual_seed(3)
        threads = torch.get_num_threads()
        trained("bilstm", [synthetic(0)], recorder(), epochs=1)
        assert torch.equal(torch.rand(3), expected)
        assert torch.get_num_threads() == threads


class TestStopping:
    def test_takes_effect_at_the_next_batch(self, synthetic, recorder):
        # 105 windows make 4 batches of 32; asked before each one, the 7th answer is yes
        watching = recorder(stop_after=6)
        with pytest.raises(Stopped):
            trained("bilstm", [synthetic(0)], watching, epochs=100)
        assert watching.batches == 7
        assert len(watching.epochs) == 1

    def test_takes_effect_after_the_last_epoch_too(self, synthetic, recorder):
        cells = [synthetic(seed, 60) for seed in range(5)]
        whole = recorder()
        trained("baseline", cells, whole, epochs=2, ensemble_size=2)
        watching = recorder(stop_after=whole.batches - 1)
        with pytest.raises(Stopped):
            trained("baseline", cells, watching, epochs=2, ensemble_size=2)
        assert len(watching.epochs) == 2


class TestResuming:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_goes_on_to_the_same_numbers(self, algorithm, synthetic, recorder, tmp_path):
        cells = [synthetic(0)]
        whole = trained(algorithm, cells, recorder(), epochs=6)
        with pytest.raises(Stopped):
            trained(algorithm, cells, recorder(stop_after=14), epochs=6, checkpoint_dir=tmp_path)
        watching = recorder()
        resumed = trained(algorithm, cells, watching, epochs=6, checkpoint_dir=tmp_path)
        assert watching.epochs[0].epoch == 4
        assert losses(resumed.epochs) == losses(whole.epochs)
        assert resumed.bundle.predict([cells[0].features]) == whole.bundle.predict([cells[0].features])

    def test_a_run_that_was_complete_is_only_judged_again(self, synthetic, recorder, tmp_path):
        first = trained("baseline", [synthetic(0)], recorder(), epochs=3, checkpoint_dir=tmp_path)
        watching = recorder()
        again = trained("baseline", [synthetic(0)], watching, epochs=3, checkpoint_dir=tmp_path)
        assert watching.epochs == []
        assert again.metrics == first.metrics

    def test_a_run_that_stopped_early_is_only_judged_again(self, synthetic, recorder, tmp_path):
        asked = {"epochs": 200, "patience": 2, "learning_rate": 0.1, "checkpoint_dir": tmp_path}
        first = trained("baseline", [synthetic(0)], recorder(), **asked)
        watching = recorder()
        again = trained("baseline", [synthetic(0)], watching, **asked)
        assert watching.epochs == []
        assert len(again.epochs) < 200
        assert again.epochs == first.epochs
        assert again.metrics == first.metrics

    @pytest.mark.parametrize("change", [{"learning_rate": 0.01}, {"epochs": 3}])
    def test_a_checkpoint_of_another_run_is_not_taken(self, change, synthetic, recorder, tmp_path):
        trained("baseline", [synthetic(0)], recorder(), epochs=2, checkpoint_dir=tmp_path)
        watching = recorder()
        trained("baseline", [synthetic(0)], watching, **{"epochs": 2, **change}, checkpoint_dir=tmp_path)
        assert watching.epochs[0].epoch == 1

    @pytest.mark.parametrize("kept", [0.0, 0.5])
    def test_a_torn_checkpoint_is_not_taken(self, kept, synthetic, recorder, tmp_path):
        trained("baseline", [synthetic(0)], recorder(), epochs=2, checkpoint_dir=tmp_path)
        path = tmp_path / "last.ckpt"
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        watching = recorder()
        trained("baseline", [synthetic(0)], watching, epochs=2, checkpoint_dir=tmp_path)
        assert watching.epochs[0].epoch == 1


class TestTroubledData:
    def test_too_short_a_battery_is_named(self, synthetic, recorder):
        whole = synthetic(0)
        short = History("battery 7", whole.cycle_index[:1], whole.features[:1], whole.soh[:1], whole.rul[:1])
        with pytest.raises(UnusableData, match="battery 7: 1 of its 1 cycles"):
            trained("baseline", [short], recorder())

    def test_a_batch_larger_than_the_set_is_the_set(self, synthetic, recorder):
        watching = recorder()
        trained("baseline", [synthetic(0)], watching, epochs=2, batch_size=5000)
        assert watching.batches == 2

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_constant_and_an_always_missing_feature_do_no_harm(self, algorithm, synthetic, recorder):
        cell = synthetic(0)
        features = np.array(cell.features)
        features[:, 0], features[:, 1] = 3.3, np.nan
        odd = History(cell.cell, cell.cycle_index, features, cell.soh, cell.rul)
        fitted = trained(algorithm, [odd], recorder(), epochs=3)
        assert fitted.metrics["soh_mae"] < 0.5 * fitted.metrics["soh_mae_training_mean"]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_cells_that_outlived_their_records_still_teach(self, algorithm, synthetic, recorder):
        young = []
        for seed in range(3):
            cell = synthetic(seed)
            young.append(
                History(cell.cell, cell.cycle_index[:60], cell.features[:60], cell.soh[:60], np.full(60, np.nan))
            )
        fitted = trained(algorithm, young, recorder(), epochs=3)
        first, last = fitted.bundle.predict(
            [young[0].features[:1], young[0].features], [young[0].cycle_index[:1], young[0].cycle_index]
        )
        assert first.rul > 59  # it was seen to live so many cycles more
        assert 10 < last.rul < first.rul
        assert last.rul_interval == (last.rul / 4, last.rul * 4)
        assert any("No training cell reached its end of life" in warning for warning in last.warnings)
        assert any("rough factor" in warning for warning in last.warnings)

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_one_that_outlived_its_record_alone_has_life_left(self, algorithm, nasa_young, recorder):
        # B0025: 28 cycles from 0.92 to 0.88 of nominal; answers of no cycle left beside such health were absurd
        answer = trained(algorithm, [nasa_young], recorder(), epochs=5).bundle.predict(
            [nasa_young.features], [nasa_young.cycle_index]
        )[0]
        assert answer.soh > 0.86
        assert 10 < answer.rul < 3 * 28

    def test_cells_cut_short_teach_rul_to_others(self, synthetic, recorder, monkeypatch):
        # every record ends when half of the cells have: without those that live on, lives look shorter than they are
        cells = [synthetic(seed) for seed in (*range(11), 12)]
        ends = np.median([np.nanmax(cell.rul) for cell in cells[4:]])
        taught = [cell if np.nanmax(cell.rul) < ends else cut(cell, int(ends)) for cell in cells[4:]]

        def error():
            fitted = fit(
                "baseline",
                HYPERPARAMETERS["baseline"](epochs=5),
                [*cells[:4], *taught],
                observer=recorder(),
                test_cells=[cell.cell for cell in cells[:4]],
            )
            return fitted.metrics["rul_mae"]

        with_them = error()
        monkeypatch.setattr("batteries.windows.rul_lower_bound", lambda history, _=None: np.full(len(history), np.nan))
        assert with_them < 0.9 * error()

    def test_a_battery_of_one_cycle_teaches_beside_others(self, synthetic, recorder):
        one = cut(synthetic(1), 1)
        fitted = trained("bilstm", [synthetic(0), one], recorder(), epochs=2)
        assert fitted.bundle.metadata["train_cells"] == ["synthetic 0", "synthetic 1"]
        assert np.isfinite(fitted.metrics["soh_mae"])

    def test_batteries_of_different_chemistries_train_together_and_are_told(self, synthetic, recorder):
        cells = [replace(synthetic(seed), chemistry=name) for seed, name in ((0, "LFP"), (1, "NMC"), (2, None))]
        judge = cells[2].cell
        fitted = fit(
            "bilstm", HYPERPARAMETERS["bilstm"](epochs=3), cells, observer=recorder(), test_cells=[judge]
        )  # fmt: skip
        assert fitted.bundle.metadata["chemistries"] == ["LFP", "NMC"]
        assert fitted.metrics["soh_mae"] < 0.3 * fitted.metrics["soh_mae_training_mean"]
        told = [fitted.bundle.predict([cells[0].features], chemistry=[name])[0].warnings for name in ("nmc", "LCO")]
        assert [any("chemistry" in warning for warning in warnings) for warnings in told] == [False, True]

    def test_features_that_are_nowhere_known_are_an_error_that_names_every_battery(self, synthetic, recorder):
        blind = [replace(synthetic(s), features=np.full_like(synthetic(s).features, np.nan)) for s in (0, 1)]
        with pytest.raises(UnusableData, match=r"synthetic 0: 0 of its 150 cycles.*synthetic 1: 0 of its 150 cycles"):
            trained("baseline", blind, recorder())

    def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_try(self, synthetic, recorder, monkeypatch):
        monkeypatch.setattr("models.network.data_loss", lambda out, _: out.sum() * float("nan"))
        with pytest.raises(TrainingFailed, match=r"epoch 1; a learning rate below 0\.001 may help"):
            trained("baseline", [synthetic(0)], recorder(), epochs=2)

    def test_hyperparameters_of_another_algorithm_are_refused(self, synthetic, recorder):
        with pytest.raises(ValueError, match="'bilstm' is not trained with BaselineHyperparameters"):
            fit("bilstm", HYPERPARAMETERS["baseline"](), [synthetic(0)], observer=recorder())
