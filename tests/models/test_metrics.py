"""Scores worked out by hand."""

import numpy as np
import pytest

from models.calibration import Calibration
from models.metrics import Judged, calibration_error, cell_mean, reliability, scores


def judged(soh_error, rul_error, true_rul, cell):
    n = len(cell)
    truth = np.full(n, 0.9)
    return Judged(
        truth + soh_error, np.ones(n), true_rul + rul_error, np.ones(n), truth, np.array(true_rul), np.array(cell)
    )


class TestScores:
    def test_are_taken_per_cell_then_averaged(self):
        # cell 0: errors 0.01, 0.03; cell 1: error 0.05
        found = scores(
            judged(
                np.array([0.01, -0.03, 0.05]), np.array([5.0, -20.0, 1.0]), np.array([100.0, 100.0, 2.0]), [0, 0, 1]
            ),
            Calibration.unknown(),
            training_mean=0.8,
        )
        assert found["soh_mae"] == pytest.approx((0.02 + 0.05) / 2)
        assert found["soh_rmse"] == pytest.approx((np.sqrt((0.01**2 + 0.03**2) / 2) + 0.05) / 2)
        assert found["test_accuracy"] == pytest.approx((0.5 + 0.0) / 2)
        assert found["soh_mae_training_mean"] == pytest.approx(0.1)
        assert found["rul_mae"] == pytest.approx((12.5 + 1.0) / 2)
        assert found["rul_within_15pct"] == pytest.approx((0.5 + 1.0) / 2)  # one cycle off is close enough at the end

    def test_a_remaining_life_of_zero_past_the_end_of_life_proves_nothing(self):
        past = judged(np.zeros(3), np.array([30.0, 0.0, 0.0]), np.array([100.0, 0.0, 0.0]), [0, 0, 0])
        found = scores(past, Calibration.unknown(), 0.8)
        assert (found["rul_mae"], found["rul_within_15pct"]) == (30.0, 0.0)
        np.testing.assert_array_equal(past.scored().rul, [30.0, np.nan, np.nan])

    def test_leave_out_what_cannot_be_known(self):
        unknown = np.full(2, np.nan)
        found = scores(judged(np.zeros(2), unknown, unknown, [0, 1]), Calibration.unknown(), 0.8)
        assert found["test_accuracy"] == 1.0
        assert "rul_mae" not in found
        assert "rul_within_15pct" not in found


class TestCellMean:
    def test_a_cell_without_truth_does_not_count(self):
        assert cell_mean(np.array([1.0, np.nan, np.nan]), np.array([0, 0, 1])) == 1.0


class TestReliability:
    def test_compares_what_was_said_with_what_came(self):
        said, came = np.array([0.95, 0.95, 0.25, 0.25]), np.array([1.0, 0.0, 0.0, np.nan])
        assert reliability(said, came) == [(0.25, 0.0, 1), (0.95, 0.5, 2)]
        assert calibration_error(said, came) == pytest.approx((0.25 * 1 + 0.45 * 2) / 3)
