"""The networks, and what training takes away from them."""

import pytest
import torch

from models.augmentation import dropped_columns, families, truncate
from models.base import Fit
from models.bilstm import BiLstm, BiLstmConfig
from models.deephpm import DeepHpm, DeepHpmConfig
from models.heads import LOG_SIGMA_SOH, NOVELTY
from models.mlp import Mlp, MlpConfig

COLUMNS = 4
CURVE = torch.zeros(COLUMNS), torch.zeros(()), torch.ones(COLUMNS), torch.zeros(1, COLUMNS), torch.zeros(1)


def network(name):
    torch.manual_seed(0)
    return {
        "baseline": lambda: Mlp(MlpConfig(COLUMNS, 8)),
        "bilstm": lambda: BiLstm(BiLstmConfig(COLUMNS, 8)),
        "deephpm": lambda: DeepHpm(DeepHpmConfig(COLUMNS, 8, 8)),
    }[name]()


def stirred(name):
    """With heads that do not start at zero, so that inputs matter."""
    made = network(name)
    torch.nn.init.normal_(made.heads.mean.weight, std=0.5)
    return made


@pytest.mark.parametrize("name", ["baseline", "bilstm", "deephpm"])
class TestForward:
    def test_starts_on_its_straight_line(self, name):
        made = network(name)
        made.heads.base.weight[0, 1] = 2.0
        made.heads.base.bias[0] = 0.25
        z = torch.randn(5, 1, 2 * COLUMNS)
        out = made(z, torch.ones(5, 1, dtype=torch.bool))
        torch.testing.assert_close(out[:, 0], 2.0 * z[:, 0, 1] + 0.25)

    def test_life_left_is_never_negative(self, name):
        out = stirred(name)(50 * torch.randn(200, 3, 2 * COLUMNS), torch.ones(200, 3, dtype=torch.bool))
        assert out.shape == (200, 4)
        assert (out[:, 1] >= 0).all()

    def test_each_window_is_answered_by_itself(self, name):
        made, z, mask = stirred(name), torch.randn(6, 3, 2 * COLUMNS), torch.ones(6, 3, dtype=torch.bool)
        torch.testing.assert_close(made(z, mask)[2:3], made(z[2:3], mask[2:3]))


class TestNovelty:
    def test_what_is_far_from_all_that_was_seen_is_in_doubt(self):
        heads = network("baseline").heads
        heads.base.adopt([Fit(*CURVE)] * 2, torch.zeros(1, COLUMNS))
        near, far = torch.zeros(1, COLUMNS), torch.full((1, COLUMNS), 9.0)
        said = heads(torch.zeros(1, 8), torch.cat([near, far]))[:, LOG_SIGMA_SOH]
        # the head says sigma = 1/e everywhere; far away NOVELTY comes to its square
        torch.testing.assert_close((2 * said).exp(), torch.exp(torch.tensor(-2.0)) + torch.tensor([0.0, NOVELTY]))

    def test_a_model_that_was_calibrated_without_it_is_loaded_without_it(self):
        saved = network("baseline").state_dict()
        del saved["heads.novelty"]
        loaded = network("baseline")
        loaded.load_state_dict(saved)
        assert loaded.heads.novelty == 0.0


class TestPhysics:
    def test_f_is_the_rate_of_health_less_the_law(self):
        made = stirred("deephpm").double()
        z, mask = torch.randn(3, 1, 2 * COLUMNS, dtype=torch.float64), torch.ones(3, 1, dtype=torch.bool)
        out, f, f_t = made.physics(z, mask)

        def shifted(by):
            moved = z.clone()
            moved[..., COLUMNS - 1] += by  # the last scaled column is the cycle, t
            return moved

        def residual(at):
            step = 1e-5
            rate = (made(shifted(at + step), mask)[:, :2] - made(shifted(at - step), mask)[:, :2]) / (2 * step)
            health = made(shifted(at), mask)[:, :2]
            return rate - made.dynamics(torch.cat([shifted(at)[:, 0], health], dim=1))

        torch.testing.assert_close(out, made(z, mask))
        torch.testing.assert_close(f, residual(0.0), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(f_t, (residual(1e-4) - residual(-1e-4)) / 2e-4, atol=1e-4, rtol=1e-3)

    def test_the_law_learns_from_its_residual(self):
        made = stirred("deephpm")
        physics = made.physics(torch.randn(3, 1, 2 * COLUMNS), torch.ones(3, 1, dtype=torch.bool))
        (physics.f.square().mean() + physics.f_t.square().mean()).backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in made.dynamics[:1].parameters())


class TestTruncate:
    def test_keeps_the_cycle_asked_about_and_a_stretch_before_it(self):
        mask = torch.ones(2000, 8, dtype=torch.bool)
        mask[:, :2] = False
        kept = truncate(mask, torch.Generator().manual_seed(0))
        assert kept[:, -1].all()
        assert not kept[:, :2].any()
        assert (kept.int().diff(dim=1) >= 0).all()
        shortened = (kept.sum(1) < 6).double().mean().item()
        assert shortened == pytest.approx(0.3 * 5 / 8, abs=0.04)  # 3 in 10 drawn, of which 5 lengths in 8 are shorter


class TestDroppedColumns:
    def test_families_are_what_goes_missing_together(self):
        names = ("charge_c_rate", "charge_duration_h", "load_drop_v", "load_temperature_start_c")
        assert families(names) == [[0, 1], [1, 2, 3], [2, 3], [3], [4]]

    def test_never_takes_every_feature(self):
        generator, groups = torch.Generator().manual_seed(0), [[0, 1], [2], [3]]
        draws = [dropped_columns(groups, generator) for _ in range(2000)]
        taken = [draw for draw in draws if draw is not None]
        assert 0.3 < len(taken) / len(draws) < 0.5
        assert not any(bool(draw[:3].all()) for draw in taken)
        assert any(draw.tolist() == [False, False, False, True] for draw in taken)
