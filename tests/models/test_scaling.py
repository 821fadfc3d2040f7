"""Scaling and filling, against values worked out by hand or by scikit-free algebra."""

import numpy as np
import pytest
import torch

from models.scaling import CLIP, InputScaler, TargetScale, distinct

NAN = float("nan")


def fitted(rows, index=None) -> InputScaler:
    rows = torch.tensor(rows, dtype=torch.float32)
    scaler = InputScaler(rows.shape[1])
    scaler.fit(rows, torch.full((len(rows),), NAN) if index is None else torch.tensor(index, dtype=torch.float32))
    return scaler


def scaled(scaler: InputScaler, row, index=NAN):
    """(C values, C marks) of a window of one cycle."""
    x = torch.tensor(row, dtype=torch.float32)[None, None]
    z = scaler(x, torch.ones(1, 1, dtype=torch.bool), torch.tensor([[index]]))[0, 0]
    return z[: scaler.columns], z[scaler.columns :]


class TestInputScaler:
    def test_known_values_become_standard_scores(self):
        # column 0: 1, 3 has mean 2 and deviation 1; the index 10, 30 has 20 and 10
        values, marks = scaled(fitted([[1.0], [3.0]], [10.0, 30.0]), [4.0], 25.0)
        assert values.tolist() == pytest.approx([2.0, 0.5])
        assert marks.tolist() == [0, 0]

    def test_a_missing_value_is_filled_from_what_goes_along_with_it(self):
        rng = np.random.default_rng(0)
        a = rng.normal(size=4000)
        rows = np.stack([a, 0.8 * a + 0.6 * rng.normal(size=4000)], axis=1)  # correlation 0.8
        values, marks = scaled(fitted(rows), [2.0, NAN])
        # the expected value is 0.8 standard scores of 2; the estimate is shrunk by a twentieth
        assert values[1].item() == pytest.approx(0.8 * 2.0 * 0.95, abs=0.1)
        assert marks.tolist() == [0, 1, 1]

    def test_with_nothing_known_the_means_are_taken(self):
        values, marks = scaled(fitted([[1.0, 5.0], [3.0, 6.0]]), [NAN, NAN])
        assert values.tolist() == [0, 0, 0]
        assert marks.tolist() == [1, 1, 1]

    def test_a_constant_column_says_nothing(self):
        values, _ = scaled(fitted([[7.0, 1.0], [7.0, 3.0]]), [9.0, 2.0])
        assert values.tolist() == [0, 0, 0]

    def test_what_lies_far_out_is_cut_off(self):
        values, _ = scaled(fitted([[1.0], [3.0]], [0.0, 2.0]), [1e9], 1.0)
        assert values.tolist() == [CLIP, 0]

    def test_with_a_reach_of_half_a_range_a_column_is_believed_no_further(self):
        scaler = fitted([[1.0], [3.0]], [0.0, 2.0])
        scaler.reach.fill_(0.5)  # up to 3 + 0.5 * 2 = 4, which is 2 standard scores
        values, _ = scaled(scaler, [100.0], 1.0)
        assert values.tolist() == [2.0, 0.0]

    def test_masked_steps_are_zero(self):
        scaler = fitted([[1.0], [3.0]], [0.0, 2.0])
        z = scaler(torch.full((1, 2, 1), 3.0), torch.tensor([[False, True]]), torch.full((1, 2), 2.0))
        assert z[0, 0].tolist() == [0, 0, 0, 0]
        assert z[0, 1].tolist() == [1, 1, 0, 0]

    def test_says_how_far_outside_the_training_range_an_input_lies(self):
        scaler = fitted([[1.0], [3.0]], [0.0, 2.0])
        beyond = scaler.outside(torch.tensor([[5.0], [2.0], [NAN]]), torch.tensor([1.0, -3.0, NAN]))
        assert beyond.tolist() == [[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]

    def test_rows_that_are_all_missing_do_not_break_the_fit(self):
        scaler = fitted([[NAN, 1.0], [NAN, 3.0]])
        scaler.reach.fill_(0.0)
        assert all(torch.isfinite(values).all() for values in scaled(scaler, [5.0, NAN]))
        assert scaler.outside(torch.tensor([[5.0, 2.0]]), torch.tensor([NAN])).tolist() == [[0, 0, 0]]


class TestTargetScale:
    def test_lower_bounds_stand_in_where_no_life_is_known(self):
        soh, none = torch.tensor([0.9, 0.8, NAN]), torch.full((3,), NAN)
        scale = TargetScale.fit(soh, none, torch.tensor([10.0, 20.0, 30.0]))
        assert scale.soh_mean == pytest.approx(0.85)
        assert scale.soh_std == pytest.approx(0.05)
        assert scale.rul_scale == pytest.approx(20.0)

    def test_a_cell_that_does_not_age_is_scaled_by_a_hundredth(self):
        flat = torch.full((3,), 0.9)
        assert TargetScale.fit(flat, flat * NAN, flat * NAN) == TargetScale(flat.double().mean().item(), 0.01, 1.0)


class TestDistinct:
    @pytest.mark.parametrize("columns", [1, 5, 200])
    def test_gives_each_pattern_once_and_every_row_its_own(self, columns):
        rows = torch.rand(300, columns, generator=torch.Generator().manual_seed(0)) < 0.5
        rows[150:] = rows[:150]
        patterns, which = distinct(rows)
        assert torch.equal(patterns[which], rows)
        assert len(patterns) == len({tuple(row.tolist()) for row in rows})
