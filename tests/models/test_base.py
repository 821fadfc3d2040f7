"""The regression that networks start from: what it follows, how it is chosen, how it is kept."""

import numpy as np
import pytest
import torch

from models.base import REACH, Base, Rows, Setting, choose, expected, fit_both, fit_one, settings, surely_better


def grid(rows: int = 200, columns: int = 1) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)) * 3 - 1.5


def rows_of(z, soh, cells=4):
    """Each cell every so many rows, so that all see the whole range."""
    return Rows(z, (soh, torch.full_like(soh, torch.nan)), torch.arange(len(z)) % cells)


class TestFit:
    def test_a_line_follows_a_line_where_no_row_was(self):
        z = grid(columns=2)
        (line,) = fit_one(z, 2 * z[:, 0] - z[:, 1] + 0.5, Setting(1e-6), spans=1, centres=z)
        torch.testing.assert_close(line(torch.tensor([[4.0, -3.0]])), torch.tensor([11.5]), atol=1e-3, rtol=0)

    def test_a_curve_follows_a_bend_that_a_line_cannot(self):
        z = grid()
        truth = torch.sin(2 * z[:, 0])
        (line,) = fit_one(z, truth, Setting(1e-5), spans=1, centres=z)
        (curve,) = fit_one(z, truth, Setting(1e-5, width=1.0), spans=1, centres=z[:50])
        assert (curve(z) - truth).abs().max() < 0.02
        assert (line(z) - truth).abs().max() > 0.3

    def test_blocks_that_do_not_count_change_nothing(self):
        z = grid(columns=4)
        truth = z[:, 0].square()
        (curve,) = fit_one(z, truth, Setting(1e-4, width=0.3, spans=1), spans=2, centres=z)
        other = torch.cat([z[:, :2], z[:, 2:] + 1.0], dim=1)
        torch.testing.assert_close(curve(other), curve(z))

    def test_of_nothing_known_is_zero(self):
        z = grid()
        (nothing,) = fit_one(z, torch.full((200,), torch.nan), Setting(1e-4, width=0.3), spans=1, centres=z)
        assert (nothing(z) == 0).all()


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


class TestFitBoth:
    def test_a_cell_counts_the_same_however_long_its_record(self):
        z = torch.zeros(100, 1)
        cell = (torch.arange(100) >= 90).long()
        fits, _ = fit_both(Rows(z, (cell.float(), cell.float()), cell), (Setting(1e-3),) * 2, 1)
        assert fits[0](z[:1]).item() == pytest.approx(0.5)


class TestBase:
    @pytest.mark.parametrize("setting", [Setting(1e-3), Setting(1e-4, width=0.3)])
    def test_says_what_was_fitted_and_how_steep_it_is(self, setting):
        z = grid(columns=2)
        fits, seen = fit_both(rows_of(z, z[:, 0].square() + z[:, 1]), (setting, setting), 1)
        base = Base(2)
        base.adopt(fits, seen)
        torch.testing.assert_close(base(z)[0][:, 0], fits[0](z))
        step = torch.tensor([1e-2, 0.0])
        steep = (base(z + step)[0] - base(z - step)[0])[:, 0].mean() / 2e-2
        torch.testing.assert_close(base.slope[0, 0], steep, atol=5e-3, rtol=1e-2)

    def test_is_loaded_with_as_many_centres_as_it_was_saved_with(self):
        z = grid(300, 2)
        fits, seen = fit_both(rows_of(z, z[:, 0].square()), (Setting(1e-4, width=0.3),) * 2, 1)
        saved, loaded = Base(2), Base(2)
        saved.adopt(fits, seen)
        loaded.load_state_dict(saved.state_dict())
        assert len(loaded.centres) == 256
        torch.testing.assert_close(loaded(z), saved(z))

    def test_knows_how_new_an_input_is_to_its_curves(self):
        z = grid(200, 2)
        fits, seen = fit_both(
            Rows(z, (z[:, 0], z[:, 1]), torch.zeros(200)), (Setting(1e-4, width=0.3), Setting(1e-3)), 1
        )
        base = Base(2)
        base.adopt(fits, seen)
        away = torch.tensor([[1.5 + 2.0, 0.0]])
        nearest = (z - away).square().sum(1).min()
        _, novelty = base(torch.cat([z[:1], away]))
        # exp(-0.3 / 2 d^2) of the nearest row, of 1 - k^2; a line knows no distance
        torch.testing.assert_close(novelty, torch.tensor([[0.0, 0.0], [1 - torch.exp(-0.3 * nearest), 0.0]]))
