"""What confidence and intervals mean, on errors whose distribution is known."""

import math

import numpy as np
import pytest

from models.calibration import Calibration, Scored, calibrate


def normal_scores(cells: int, each: int = 400, seed: int = 0) -> Scored:
    """|error| / sigma where the errors are normal and sigma is their true deviation."""
    scores = np.abs(np.random.default_rng(seed).normal(size=cells * each))
    return Scored(scores, scores, np.repeat(np.arange(cells), each))


class TestConfidence:
    @pytest.mark.parametrize("sigma", [0.005, 0.01, 0.02, 0.04])
    def test_is_the_chance_of_an_error_within_a_fiftieth(self, sigma):
        calibration = calibrate([normal_scores(200)], "cells")
        expected = math.erf(0.02 / sigma / math.sqrt(2))  # P(|N(0, sigma)| <= 0.02)
        assert calibration.confidence(np.array([sigma]))[0] == pytest.approx(expected, abs=0.01)

    def test_falls_as_sigma_grows_and_never_reaches_certainty(self):
        said = calibrate([normal_scores(20)], "cells").confidence(np.array([1e-12, 0.01, 0.02, 0.1, 1e6]))
        assert (np.diff(said) < 0).all()
        assert 0 < said[-1] < said[0] < 1

    @pytest.mark.parametrize(("cells", "highest"), [(1, 21 / 22), (2, 41 / 42), (10, 201 / 202)])
    def test_few_cells_cannot_make_sure(self, cells, highest):
        assert calibrate([normal_scores(cells)], "cells").confidence(np.zeros(1))[0] == pytest.approx(highest)

    def test_every_cell_weighs_the_same(self):
        # one long good cell, one short bad one: half of the cells is within
        scores = Scored(
            np.r_[np.full(900, 0.1), np.full(10, 9.0)], np.full(910, np.nan), np.r_[np.zeros(900), np.ones(10)]
        )
        edge = 0.5 / 21  # ten stretches of each of the two lives
        said = calibrate([scores], "cells").confidence(np.array([0.01]))[0]
        assert said == pytest.approx(edge + (1 - 2 * edge) * 0.5, abs=0.05)


class TestWithout:
    def test_the_smallest_scored_set_that_holds_what_is_missing_counts(self):
        plain, double, fivefold = (Scored(k * s.soh, k * s.rul, s.cell) for k in (1, 2, 5) for s in [normal_scores(50)])
        few, many = frozenset({1}), frozenset({1, 2})
        calibration = calibrate([plain], "cells", {many: [fivefold], few: [double]})
        radius = calibration.soh_radius(np.ones(1))[0]
        for missing, factor in ((set(), 1), ({1}, 2), ({2}, 5), ({1, 2}, 5), ({1, 2, 3}, 5)):
            lacking = calibration.without(frozenset(missing))
            assert lacking.soh_radius(np.ones(1))[0] == pytest.approx(factor * radius)
            assert lacking.rul_radius(np.ones(1))[0] == pytest.approx(factor * radius)

    def test_missing_something_never_makes_surer(self):
        scores = normal_scores(50)
        easier = Scored(scores.soh / 3, scores.rul / 3, scores.cell)
        calibration = calibrate([scores], "cells", {frozenset({1}): [easier]})
        sigma = np.array([0.01, 0.03])
        without = calibration.without(frozenset({1}))
        np.testing.assert_array_equal(without.confidence(sigma), calibration.confidence(sigma))


class TestIntervals:
    def test_cover_nine_in_ten_of_new_errors(self):
        calibration = calibrate([normal_scores(100)], "cells")
        sigma = np.random.default_rng(2).uniform(0.005, 0.05, 20000)
        errors = np.random.default_rng(1).normal(size=20000) * sigma
        assert np.mean(np.abs(errors) <= calibration.soh_radius(sigma)) == pytest.approx(0.9, abs=0.015)

    def test_of_few_cells_are_wider(self):
        # thirty stretches of life: level 0.9 * 31 / 30 = 0.93, which a normal error exceeds beyond 1.812 sigma
        radius = calibrate([normal_scores(3, each=20_000)], "cells").soh_radius(np.ones(1))[0]
        assert radius == pytest.approx(1.812, abs=0.03)

    def test_of_one_battery_are_as_wide_as_the_worst_error_seen(self):
        scores = normal_scores(1)
        assert calibrate([scores], "time").soh_radius(np.ones(1))[0] == pytest.approx(scores.soh.max())

    def test_one_cell_makes_no_answer_surer_than_its_later_cycles_typically_are(self):
        held_out = Scored(
            np.array([0.5, 1.0, 1.5]), np.ones(3), np.zeros(3, dtype=int), np.array([0.01, 0.02, 0.04]), np.ones(3)
        )
        calibration = calibrate([held_out], "time")
        near, typical, far = np.array([1e-6]), np.array([0.02]), np.array([0.04])
        assert calibration.soh_radius(near) == calibration.soh_radius(typical) < calibration.soh_radius(far)
        assert calibration.confidence(near) == calibration.confidence(typical) > calibration.confidence(far)
        assert calibration.rul_radius(near) == calibration.rul_radius(np.ones(1))
        assert Calibration.from_dict(calibration.as_dict()) == calibration
        assert calibrate([held_out], "cells").soh_radius(near) < calibration.soh_radius(near)

    def test_are_unknown_where_no_life_ended(self):
        scores = normal_scores(3)
        calibration = calibrate([Scored(scores.soh, np.full_like(scores.soh, np.nan), scores.cell)], "cells")
        assert np.isnan(calibration.rul_radius(np.ones(1))).all()
        assert np.isfinite(calibration.soh_radius(np.ones(1))).all()


class TestFacts:
    def test_say_how_many_cells_and_of_what_kind(self):
        facts = calibrate([normal_scores(3, 10), normal_scores(3, 5)], "cells").facts()
        assert facts == {"kind": "held-out cells", "cells": 3, "windows": 45}
        assert calibrate([normal_scores(1, 10)], "time").facts()["kind"] == "later cycles of the training cell"

    def test_survive_the_file(self):
        calibration = calibrate([normal_scores(3)], "cells", {frozenset({0, 4}): [normal_scores(3)]})
        assert Calibration.from_dict(calibration.as_dict()) == calibration
