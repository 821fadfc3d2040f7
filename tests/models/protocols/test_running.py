"""A protocol's run: fair to all models, and blind to what it must not see."""

from dataclasses import replace

import numpy as np
import pytest

from models.hyperparameters import HYPERPARAMETERS
from models.protocols import running
from models.protocols.scoring import summary
from models.protocols.tasks import tasks

OURS = ("baseline", "bilstm", "deephpm")


def quiet(_):
    """Nobody listens."""


def quick(algorithm, _cycles, _past, seed):
    return HYPERPARAMETERS[algorithm](epochs=1, ensemble_size=2, seed=seed)


def run(found, models, seeds=1):
    return list(running.run(found, seeds, quiet, models, quick))


@pytest.fixture
def task(written, cells):
    data = written({f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 2, 3, 4, 5, 6)})
    (found,) = tasks("P2", data, quiet)
    return found


def changed(task, edit):
    """The task with another record of its test cell."""
    histories = [edit(history) if history.cell in task.test_cells else history for history in task.histories]
    return replace(task, histories=tuple(histories))


class TestHyperparameters:
    @pytest.mark.parametrize(("algorithm", "window"), [("baseline", 1), ("bilstm", 256), ("deephpm", 1)])
    def test_who_looks_back_looks_back_as_far_as_the_task(self, algorithm, window):
        asked = running.hyperparameters(algorithm, 5_000, 256, 3)
        assert (asked.window, asked.seed, asked.batch_size) == (window, 3, 128)

    def test_many_cycles_are_passed_over_less_often(self):
        assert [running.hyperparameters("bilstm", cycles, 64, 0).epochs for cycles in (100, 5_000, 10**6)] == [30, 5, 4]


class TestRun:
    def test_every_model_answers_every_cycle_of_every_judging_cell(self, task):
        everything = run([task], ("dummy", "ridge", "gradient boosting", "baseline"), seeds=2)
        assert {(a.model, a.seed, a.cell, len(a.soh)) for a in everything} == {
            (model, seed, "2C_battery-4", 50)
            for model in ("persistence", "dummy", "ridge", "gradient boosting", "baseline")
            for seed in (0, 1)
        }

    def test_ours_beat_the_training_mean_and_say_how_sure_they_are(self, task):
        found = summary("P2", run([task], ("dummy", *OURS)))["models"]
        for model in OURS:
            assert found[model]["soh_mae"] < 0.2 * found["dummy"]["soh_mae"]
            assert 0 <= found[model]["ece"] <= 1
        assert "ece" not in found["dummy"]

    def test_the_mean_is_that_of_the_teaching_cells(self, task):
        (mean,) = {value for a in run([task], ("dummy",)) if a.model == "dummy" for value in a.soh}
        teaching = [history.soh for history in task.histories if history.cell not in task.test_cells]
        assert mean == pytest.approx(np.concatenate(teaching).mean())

    def test_persistence_is_the_health_measured_before(self, task):
        (told,) = (a for a in run([task], ("dummy",)) if a.model == "persistence")
        assert np.isnan(told.soh[0])
        np.testing.assert_array_equal(told.soh[1:], told.true_soh[:-1])


MODELS = ("ridge", "gradient boosting", *OURS)


class TestLeakage:
    """The record of a judging cell changes nothing but what is asked."""

    @pytest.mark.parametrize("model", MODELS)
    def test_later_life_leaves_no_trace_in_earlier_answers(self, model, task):
        # traps 2 and 3: a cell scaled, or its RUL divided, by its own whole life
        def short(history):
            return replace(
                history,
                cycle_index=history.cycle_index[:20],
                features=history.features[:20],
                soh=history.soh[:20],
                rul=history.rul[:20],
            )

        (whole,), (early,) = run([task], (model,)), run([changed(task, short)], (model,))
        np.testing.assert_allclose(early.soh, whole.soh[:20], atol=1e-6)
        np.testing.assert_allclose(early.radius, whole.radius[:20], rtol=1e-5)

    @pytest.mark.parametrize("model", MODELS)
    def test_its_labels_leave_no_trace_in_answers_nor_intervals(self, model, task):
        # traps 1 and 5: its rows among the training ones, or the epoch, the network, the calibration chosen on it
        (honest,) = run([task], (model,))
        (other,) = run([changed(task, lambda history: replace(history, soh=history.soh - 0.3))], (model,))
        np.testing.assert_array_equal(other.soh, honest.soh)
        np.testing.assert_array_equal(other.radius, honest.radius)
        np.testing.assert_array_equal(other.confidence, honest.confidence)
