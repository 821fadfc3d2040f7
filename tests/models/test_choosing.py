"""How the regressions' settings are chosen across cells."""

import numpy as np
import pytest
import torch

from models.base import REACH, Rows, Setting, fit_both
from models.choosing import choose, expected, settings, surely_better


def grid(rows: int = 200, columns: int = 1) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)) * 3 - 1.5


def rows_of(z, soh, cells=4):
    """Each cell every so many rows, so that all see the whole range."""
    return Rows(z, (soh, torch.full_like(soh, torch.nan)), torch.arange(len(z)) % cells)


class TestChoose:
    def test_takes_a_line_for_what_is_straight_and_a_curve_for_what_bends(self):
        z = grid(columns=2)
        straight = choose(rows_of(z, z[:, 0]), rows_of(z, z[:, 0]), 1)
        bent = choose(rows_of(z, torch.sin(3 * z[:, 0])), rows_of(z, z[:, 0]), 1)
        assert straight[0][0].width is None
        assert bent[0][0].width is not None

    def test_judges_on_cells_left_out(self):
        # the second column tells the cells apart and, within those that teach, the target; only the first carries over
        z = grid(300, 2)
        cell = torch.arange(300) % 6
        z[:, 1] = cell + 0.01 * z[:, 1]
        soh = z[:, 0] + 0.0
        best, *_ = choose(Rows(z, (soh, soh), cell), rows_of(z, soh), 1)
        fits, _ = fit_both(Rows(z, (soh, soh), cell), best, 1)
        asked = torch.tensor([[0.5, 30.0]]).clamp(max=5.0 + 5.0 * REACH)
        assert fits[0](asked).item() == pytest.approx(0.5, abs=0.1)

    @pytest.mark.parametrize("cells", [2, 3])
    def test_chooses_nothing_with_few_cells(self, cells):
        z = grid(columns=2)
        chosen = choose(rows_of(z, z[:, 0], cells), rows_of(z, z[:, 0]), 1)
        assert chosen == list(zip(*expected(1, few=True), strict=True))
        assert {soh.width for soh, _ in chosen} <= {setting.width for setting in settings(1)}


class TestSurelyBetter:
    USUAL = Setting(1e-4, width=0.3)

    def test_what_wins_on_some_cells_alone_is_not_taken(self):
        lucky = Setting(1e-2, width=1.0)  # less by 0.25 on average, with a standard error of 0.25
        errors = {self.USUAL: np.ones(4), lucky: np.array([0.0, 1.0, 1.0, 1.0])}
        assert surely_better(errors, [self.USUAL]) == [self.USUAL]

    def test_what_wins_on_every_cell_is_taken_best_first(self):
        good, better = Setting(1e-2, width=1.0), Setting(1e-3)
        errors = {self.USUAL: np.ones(4), good: np.full(4, 0.9), better: np.full(4, 0.8)}
        assert surely_better(errors, [self.USUAL]) == [better, good, self.USUAL]

    def test_one_cell_gives_no_doubt_so_that_its_lowest_errors_count(self):
        other = Setting(1e-2, width=1.0)
        assert surely_better({self.USUAL: np.ones(1), other: np.zeros(1)}, [self.USUAL])[0] == other

    def test_with_nothing_known_the_usual_ones_are_taken(self):
        assert surely_better({self.USUAL: np.zeros(0)}, [self.USUAL]) == [self.USUAL]
