"""Losses worked out by hand."""

from math import log
from statistics import NormalDist

import pytest
import torch

from models.losses import HUBER_RUL, RUL_WEIGHT, SURVIVAL_SIGMA, Targets, data_loss, spread_loss

NAN = float("nan")


def out(soh, rul):
    return torch.tensor([[soh, rul, 0.0, 0.0]], requires_grad=True)


def targets(soh=NAN, rul=NAN, bound=NAN):
    return Targets(*(torch.tensor([value]) for value in (soh, rul, bound)))


class TestDataLoss:
    def test_soh_alone(self):
        assert data_loss(out(0.5, 9.0), targets(soh=0.1)).item() == pytest.approx(0.5 * 0.4**2)

    def test_rul_alone_grows_linearly_past_the_bend(self):
        expected = RUL_WEIGHT * HUBER_RUL * (2.0 - 0.5 * HUBER_RUL)
        assert data_loss(out(0.5, 3.0), targets(rul=1.0)).item() == pytest.approx(expected)

    def test_a_prediction_above_the_lower_bound_is_not_punished(self):
        assert data_loss(out(0.5, 3.0), targets(bound=1.0)).item() == pytest.approx(0, abs=1e-8)

    @pytest.mark.parametrize("predicted", [0.2, 0.9, 1.1])
    def test_a_cell_seen_alive_teaches_by_its_chance_of_surviving(self, predicted):
        # what is left is normal around the prediction; the chance of more than 1.0 by its cumulative distribution
        survives = 1 - NormalDist(predicted, SURVIVAL_SIGMA).cdf(1.0)
        told = out(0.5, predicted)
        loss = data_loss(told, targets(bound=1.0))
        loss.backward()
        assert loss.item() == pytest.approx(-RUL_WEIGHT * SURVIVAL_SIGMA**2 * log(survives), rel=1e-3)
        assert told.grad[0, 1] < 0

    def test_with_nothing_known_there_is_no_loss_and_no_gradient(self):
        predicted = out(0.5, 0.2)
        loss = data_loss(predicted, targets())
        loss.backward()
        assert loss.item() == 0
        assert predicted.grad.abs().sum() == 0


class TestSpreadLoss:
    def test_teaches_the_spreads_alone(self):
        predicted = out(0.5, 0.2)
        spread_loss(predicted, targets(soh=0.1, rul=0.3)).backward()
        assert predicted.grad[0, :2].abs().sum() == 0
        assert (predicted.grad[0, 2:] != 0).all()

    def test_is_least_where_the_spread_is_the_error(self):
        def at(log_sigma):
            values = torch.tensor([[0.5, 0.0, log_sigma, 0.0]])
            return spread_loss(values, targets(soh=0.1)).item()

        best = torch.tensor(0.4).log().item()
        assert at(best) < min(at(best - 0.1), at(best + 0.1))
