"""The regression that networks start from: what it follows, and how it is kept."""

import pytest
import torch

from models.base import Base, Rows, Setting, fit_both, fit_one


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

    def test_is_the_same_in_however_many_pieces_the_rows_are_taken(self, monkeypatch):
        z = grid()
        (whole,) = fit_one(z, z[:, 0].square(), Setting(1e-4, width=0.3), spans=1, centres=z[:50])
        monkeypatch.setattr("models.base.CHUNK", 37)
        (pieces,) = fit_one(z, z[:, 0].square(), Setting(1e-4, width=0.3), spans=1, centres=z[:50])
        torch.testing.assert_close(pieces(z), whole(z))

    def test_of_nothing_known_is_zero(self):
        z = grid()
        (nothing,) = fit_one(z, torch.full((200,), torch.nan), Setting(1e-4, width=0.3), spans=1, centres=z)
        assert (nothing(z) == 0).all()


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

    def test_is_as_steep_in_however_many_pieces_the_rows_are_taken(self, monkeypatch):
        z = grid(columns=2)
        fits, seen = fit_both(rows_of(z, z[:, 0].square()), (Setting(1e-4, width=0.3),) * 2, 1)
        whole, pieces = Base(2), Base(2)
        whole.adopt(fits, seen)
        monkeypatch.setattr("models.base.CHUNK", 37)
        pieces.adopt(fits, seen)
        torch.testing.assert_close(pieces.slope, whole.slope)

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
