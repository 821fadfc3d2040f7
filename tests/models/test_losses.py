"""Losses worked out by hand."""

import pytest
import torch

from models.losses import HUBER_RUL, RUL_WEIGHT, Targets, data_loss, spread_loss

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
        assert data_loss(out(0.5, 3.0), targets(bound=1.0)).item() == 0

    def test_a_prediction_below_the_lower_bound_is_pulled_up(self):
        predicted = out(0.5, 0.2)
        loss = data_loss(predicted, targets(bound=1.0))
        loss.backward()
        assert loss.item() == pytest.approx(RUL_WEIGHT * 0.8**2)
        assert predicted.grad[0, 1] < 0

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
