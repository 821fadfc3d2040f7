import numpy as np
import pytest

from batteries.labels import end_of_life_position, rul, soh

NAN = np.nan


class TestSoh:
    def test_is_capacity_over_nominal_and_is_not_clipped(self):
        assert soh(np.array([2.1, 1.5, NAN]), 2.0) == pytest.approx([1.05, 0.75, NAN], nan_ok=True)

    @pytest.mark.parametrize("nominal", [0.0, -2.0, NAN])
    def test_refuses_a_nominal_capacity_that_cannot_be(self, nominal):
        with pytest.raises(ValueError, match="nominal capacity"):
            soh(np.array([1.0]), nominal)


class TestRul:
    def test_counts_recorded_cycle_numbers_to_the_first_cycle_from_which_soh_stays_below(self):
        # below 0.8 at 13, above again at 14, below for good from 16 on
        health = np.array([1.0, 0.9, 0.79, 0.81, 0.78, 0.70])
        index = np.array([10, 11, 13, 14, 16, 20])
        assert rul(health, index, 0.8).tolist() == [6, 5, 3, 2, 0, 0]

    def test_is_unknown_throughout_where_the_end_is_not_reached(self):
        assert np.isnan(rul(np.array([1.0, 0.79, 0.80]), np.arange(3), 0.8)).all()

    def test_unknown_cycles_neither_end_nor_prolong_a_life(self):
        health = np.array([0.9, NAN, 0.7, NAN, 0.6, NAN])
        assert rul(health, np.arange(1, 7), 0.8).tolist() == [2, 1, 0, 0, 0, 0]

    def test_a_cell_below_from_the_start_has_none_left(self):
        assert rul(np.array([0.7, 0.6]), np.array([5, 6]), 0.8).tolist() == [0, 0]

    def test_nothing_known_means_nothing_said(self):
        assert np.isnan(rul(np.array([NAN, NAN]), np.arange(2), 0.8)).all()
        assert end_of_life_position(np.array([]), 0.8) is None

    def test_the_limit_itself_is_not_below_it(self):
        assert end_of_life_position(np.array([0.9, 0.8]), 0.8) is None

    def test_refuses_arrays_of_different_lengths(self):
        with pytest.raises(ValueError, match="2 values of SoH for 3 cycles"):
            rul(np.ones(2), np.arange(3), 0.8)
