"""What a model is shown of a cell's life."""

import numpy as np
import pytest

from batteries.windows import History, concatenate, fingerprint, make_windows, resized, rul_lower_bound, windows_of


def history(n: int = 5, *, rul: float | None = None, name: str = "a") -> History:
    """Cycle i has the features (i, -i) and the SoH 1 - i / 100; RUL counts down from `rul`."""
    rows = np.arange(n, dtype=float)
    life = np.full(n, np.nan) if rul is None else rul - rows
    return History(name, rows + 10, np.stack([rows, -rows], axis=1), 1 - rows / 100, life, 1.1, "LFP")


class TestHistory:
    def test_refuses_arrays_of_different_lengths(self):
        with pytest.raises(ValueError, match="a: arrays of different lengths"):
            History("a", np.arange(3), np.zeros((3, 1)), np.zeros(2), np.zeros(3))

    def test_refuses_flat_features(self):
        with pytest.raises(ValueError, match="features must be"):
            History("a", np.arange(3), np.zeros(3), np.zeros(3), np.zeros(3))


class TestMakeWindows:
    def test_the_last_step_is_the_cycle_asked_about(self):
        windows = make_windows([history(5)], 3)
        assert windows.x.shape == (5, 3, 2)
        np.testing.assert_array_equal(windows.x[4, :, 0], [2, 3, 4])
        np.testing.assert_array_equal(windows.cycle_index[4], [12, 13, 14])
        assert windows.soh[4] == pytest.approx(0.96)

    def test_steps_before_the_first_cycle_are_masked_and_empty(self):
        windows = make_windows([history(5)], 3)
        np.testing.assert_array_equal(windows.mask[0], [False, False, True])
        assert np.isnan(windows.x[0, :2]).all()
        assert np.isnan(windows.cycle_index[0, :2]).all()
        np.testing.assert_array_equal(windows.x[0, 2], [0, 0])

    def test_no_window_crosses_from_one_cell_into_the_next(self):
        windows = make_windows([history(4), history(4, name="b")], 3)
        np.testing.assert_array_equal(windows.cell, [0, 0, 0, 0, 1, 1, 1, 1])
        np.testing.assert_array_equal(windows.mask[4], [False, False, True])

    def test_cycles_that_ask_nothing_are_seen_by_those_after_them(self):
        cell = history(4, rul=9)
        soh, rul = np.array(cell.soh), np.array(cell.rul)
        soh[1] = rul[1] = np.nan
        windows = make_windows([History("a", cell.cycle_index, cell.features, soh, rul)], 2)
        np.testing.assert_array_equal(windows.cycle_index[:, -1], [10, 12, 13])
        np.testing.assert_array_equal(windows.cycle_index[1], [11, 12])

    def test_a_cycle_without_any_feature_is_not_asked_about(self):
        cell = history(4)
        features = np.array(cell.features)
        features[2] = np.nan
        windows = make_windows([History("a", cell.cycle_index, features, cell.soh, cell.rul)], 2)
        np.testing.assert_array_equal(windows.cycle_index[:, -1], [10, 11, 13])

    def test_an_unknown_feature_stays_unknown(self):
        cell = history(4)
        features = np.array(cell.features)
        features[2, 0] = np.nan
        windows = make_windows([History("a", cell.cycle_index, features, cell.soh, cell.rul)], 1)
        np.testing.assert_array_equal(np.isnan(windows.x[:, 0]), [[0, 0], [0, 0], [1, 0], [0, 0]])

    @pytest.mark.parametrize(
        ("histories", "length", "message"),
        [([], 3, "no histories"), ([history()], 0, "at least one cycle")],
    )
    def test_refuses_what_makes_no_window(self, histories, length, message):
        with pytest.raises(ValueError, match=message):
            make_windows(histories, length)

    def test_of_some_histories_alone_says_where_they_are_among_all(self):
        windows = make_windows([history(4), history(5), history(2)], 3, [2, 0])
        assert windows.cell.tolist() == [2, 2, 0, 0, 0, 0]

    def test_refuses_cells_with_different_features(self):
        other = History("b", np.arange(2), np.zeros((2, 3)), np.ones(2), np.ones(2))
        with pytest.raises(ValueError, match="different numbers of features"):
            make_windows([history(), other], 2)


class TestRulLowerBound:
    def test_a_cell_that_outlived_its_record_lived_at_least_to_its_end(self):
        # cycles 10 … 14: after cycle 10 it was seen to live 4 more
        np.testing.assert_array_equal(rul_lower_bound(history(5)), [4, 3, 2, 1, 0])

    def test_a_cell_whose_end_is_known_needs_no_bound(self):
        assert np.isnan(rul_lower_bound(history(5, rul=20))).all()


class TestWindowsOf:
    def test_from_a_row_on_looks_back_before_it(self):
        windows = windows_of(history(6), 7, 3, first_row=4)
        np.testing.assert_array_equal(windows.cycle_index, [[12, 13, 14], [13, 14, 15]])
        np.testing.assert_array_equal(windows.cell, [7, 7])


class TestResized:
    def test_keeps_the_last_steps(self):
        short = resized(make_windows([history(5)], 4), 2)
        np.testing.assert_array_equal(short.x, make_windows([history(5)], 2).x)
        np.testing.assert_array_equal(short.mask, make_windows([history(5)], 2).mask)

    def test_pads_in_front(self):
        long = resized(make_windows([history(5)], 1), 3)
        np.testing.assert_array_equal(long.mask, [[False, False, True]] * 5)
        assert np.isnan(long.x[:, :2]).all()


class TestConcatenate:
    def test_keeps_the_order(self):
        both = concatenate([windows_of(history(2), 0, 1), windows_of(history(3), 1, 1)])
        np.testing.assert_array_equal(both.cell, [0, 0, 1, 1, 1])
        assert len(both) == 5


class TestFingerprint:
    def test_is_of_the_content_not_of_the_name(self):
        assert fingerprint(history(4)) == fingerprint(history(4, name="b"))
        assert fingerprint(history(4)) != fingerprint(history(5))
