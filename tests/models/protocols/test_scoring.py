"""Scores, worked out by hand."""

import numpy as np
import pytest

from models.protocols.scoring import Answers, cell_scores, summary


def answers(soh, true_soh, *, cell="a", seed=0, model="bilstm", radius=np.nan, confidence=np.nan, rul=None):
    count = len(soh)
    told, truth = (np.full(count, np.nan),) * 2 if rul is None else map(np.asarray, rul)
    return Answers(
        "task", cell, model, seed, np.asarray(soh), np.asarray(true_soh), told, truth,
        np.full(count, radius), np.full(count, confidence),
    )  # fmt: skip


class TestCellScores:
    def test_errors_relative_to_the_truth(self):
        # off by 0.1 of 0.5 and by -0.1 of 1.0: 20 % and 10 %
        scores = cell_scores(answers([0.6, 0.9], [0.5, 1.0], radius=0.05))
        assert scores["soh_mae"] == pytest.approx(0.1)
        assert scores["soh_mape"] == pytest.approx(15.0)
        assert scores["soh_rmspe"] == pytest.approx(np.sqrt((0.04 + 0.01) / 2))
        assert scores["coverage_90"] == 0.0
        assert "rul_rmse" not in scores

    def test_rul_counts_before_the_end_of_life(self):
        scores = cell_scores(answers([1, 1, 1], [1, 1, 1], rul=([13.0, 6.0, 50.0], [10.0, 10.0, 0.0])))
        assert scores["rul_rmse"] == pytest.approx(np.sqrt((9 + 16) / 2))

    def test_what_is_unknown_weighs_nothing(self):
        assert cell_scores(answers([0.5, 0.9], [0.6, np.nan], radius=0.2)) == pytest.approx({
            "soh_mae": 0.1, "soh_rmse": 0.1, "soh_mape": 100 / 6, "soh_rmspe": 1 / 6, "coverage_90": 1.0,
        })  # fmt: skip


class TestSummary:
    def test_cells_weigh_alike_and_seeds_spread(self):
        # errors by cell: seed 0: 0.1 (one cycle), 0.3 (three cycles); seed 1: 0.2 and 0.4
        found = summary("P4", [
            answers([0.9], [1.0], cell="a"), answers([0.7] * 3, [1.0] * 3, cell="b"),
            answers([0.8], [1.0], cell="a", seed=1), answers([0.6] * 3, [1.0] * 3, cell="b", seed=1),
        ])  # fmt: skip
        bilstm = found["models"]["bilstm"]
        assert found["seeds"] == 2
        assert bilstm["soh_mae"] == pytest.approx((0.2 + 0.3) / 2)
        assert bilstm["soh_mae_std"] == pytest.approx(0.05)
        assert bilstm["per_cell"]["b"]["soh_mae"] == pytest.approx(0.35)
        assert (bilstm["worst_cell_name"], bilstm["worst_cell"]) == ("b", pytest.approx(0.35))

    def test_of_coverage_the_worst_cell_is_the_least_covered(self):
        found = summary("P5", [
            answers([0.9], [1.0], cell="a", radius=0.2, confidence=0.4),
            answers([0.9], [1.0], cell="b", radius=0.05, confidence=0.4),
        ])["models"]["bilstm"]  # fmt: skip
        assert found["coverage_90"] == 0.5
        assert (found["worst_cell_name"], found["worst_cell"]) == ("b", 0.0)
        assert found["ece"] == pytest.approx(0.4)  # said 0.4, came true never

    def test_is_json(self):
        import json

        found = summary("P2", [answers([0.9], [1.0]), answers([0.9], [1.0], model="ridge")])
        assert set(json.loads(json.dumps(found, allow_nan=False))["models"]) == {"bilstm", "ridge"}
