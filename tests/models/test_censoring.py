"""What is believed of cells that outlived their records, worked out by hand or by another way."""

import numpy as np
import pytest
import torch

from batteries.windows import History, make_windows
from models.base import Rows, Setting
from models.censoring import NOTHING, completed, expected_left, left_by_pace

NAN = float("nan")
LINE = Setting(1e-6)


def cell(soh, rul=NAN, first=1):
    soh = np.asarray(soh, dtype=float)
    index = np.arange(first, first + len(soh), dtype=float)
    return History("c", index, soh[:, None], soh, np.full(len(soh), rul))


def left(*cells, end_of_life=0.8):
    return left_by_pace(make_windows(cells, 1), end_of_life)


class TestLeftByPace:
    def test_goes_on_at_the_pace_of_the_second_half_with_three_lives_seen_as_the_horizon(self):
        # 20 cycles, the later ones 0.002 each down to 0.86: 30 more by the line, 60 by the horizon, 20 by both paces
        soh = np.concatenate([np.full(10, 1.0), 0.86 + 0.002 * np.arange(10)[::-1]])
        np.testing.assert_allclose(left(cell(soh)), 1 / (1 / 30 + 1 / 60))

    @pytest.mark.parametrize("fade", [0.0, -0.001])
    def test_where_nothing_fades_the_horizon_counts(self, fade):
        np.testing.assert_allclose(left(cell(0.95 - fade * np.arange(40), first=100)), 3 * 40)

    def test_is_unknown_where_the_end_is_known(self):
        both = left(cell(np.linspace(1, 0.9, 30)), cell(np.linspace(1, 0.7, 30), rul=5.0))
        assert np.isfinite(both[:30]).all()
        assert np.isnan(both[30:]).all()

    def test_on_the_edge_of_the_end_of_life_hardly_anything_is_left(self):
        assert left(cell(np.linspace(1, 0.8, 50)))[0] == pytest.approx(NOTHING * 50)

    def test_unmeasured_cycles_at_the_end_were_lived_all_the_same(self):
        soh = 1 - 0.005 * np.arange(20)
        late = np.concatenate([soh, np.full(10, NAN)])  # level 0.855 ten cycles later: 11 left of 0.005 each
        np.testing.assert_allclose(left(cell(late)), 1 / (0.005 / (1 - 0.005 * 29 - 0.8) + 1 / 90))

    def test_a_cell_of_one_cycle_has_only_its_horizon(self):
        np.testing.assert_allclose(left(cell([0.95])), [3.0])


def rows_of(z, rul, cells):
    z, rul = torch.tensor(z, dtype=torch.float32), torch.tensor(rul, dtype=torch.float32)
    return Rows(z[:, None], (torch.zeros_like(rul), rul), torch.tensor(cells))


class TestCompleted:
    def test_what_is_known_stays(self):
        rows = rows_of([3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0, 0, 0])
        unknown = torch.full((3,), NAN)
        assert completed(rows, unknown, unknown, LINE, 1).tolist() == [3.0, 2.0, 1.0]

    def test_where_no_end_is_known_the_pace_alone_tells(self):
        rows = rows_of([3.0, 2.0, 1.0], [NAN] * 3, [0, 0, 0])
        bound = torch.tensor([2.0, 1.0, 0.0])
        assert completed(rows, bound, torch.full((3,), 0.5), LINE, 1).tolist() == [2.5, 1.5, 0.5]

    def cut_short(self, gone):
        """RUL is z for one cell; of another, at z from 3 down, `gone` says how early its record stops."""
        known, cut = np.arange(41) / 10, np.arange(gone, 31)[::-1] / 10
        rows = rows_of([*known, *cut], [*known, *[NAN] * len(cut)], [0] * len(known) + [1] * len(cut))
        bound = torch.tensor([*[NAN] * len(known), *(cut - cut[-1])], dtype=torch.float32)
        return rows, bound, len(known)

    def test_other_cells_tell_what_is_left(self):
        rows, bound, known = self.cut_short(gone=20)
        wild_guess = torch.full_like(bound, 50.0)  # nearly no weight beside the peers, who say 2.0
        filled = completed(rows, bound, wild_guess, LINE, 1)
        assert filled[-1].item() == pytest.approx(2.0, abs=0.05)
        torch.testing.assert_close(filled[known:-1] - filled[known + 1 :], bound[known:-1] - bound[known + 1 :])
        assert filled[:known].tolist() == rows.targets[1][:known].tolist()

    def test_its_own_pace_counts_where_it_is_surer(self):
        rows, bound, _ = self.cut_short(gone=20)
        filled = completed(rows, bound, torch.full_like(bound, 0.01), LINE, 1)
        assert filled[-1].item() == pytest.approx(0.01, abs=0.01)

    def test_a_cell_that_lived_past_its_predicted_end_lives_on(self):
        rows, bound, known = self.cut_short(gone=20)
        rows.z[known:] -= 3.0  # peers take it for dead at its last cycles
        filled = completed(rows, bound, torch.full_like(bound, 0.3), LINE, 1)
        assert (filled[known:] > bound[known:]).all()


class TestExpectedLeft:
    @pytest.mark.parametrize(("by_peers", "by_pace"), [(0.5, 0.4), (0.05, 1.0), (-0.4, 0.2), (-1.0, 2.0)])
    def test_is_the_mean_of_what_both_tell_cut_off_at_zero(self, by_peers, by_pace):
        at = np.linspace(0, 12, 2_000_001)
        weight = np.exp(-0.5 * ((at - by_peers) / 0.3) ** 2 - 0.5 * ((at - by_pace) / (0.5 * by_pace + 1e-3)) ** 2)
        assert expected_left(by_peers, by_pace) == pytest.approx((at * weight).sum() / weight.sum(), rel=1e-3)

    def test_is_small_and_positive_far_past_the_predicted_end(self):
        assert 0 < expected_left(-30.0, 0.5) < 0.02
