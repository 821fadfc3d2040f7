"""`deephpm`: a deep hidden physics model of degradation.

After P. Wen et al., "Physics-Informed Neural Networks for Prognostics and Health Management of Lithium-Ion Batteries",
IEEE Transactions on Intelligent Vehicles 9(1), 2024: a network U(x, t) gives the health, a second one G(x, t, U) the
law dU/dt = G that it follows; F = dU/dt - G and F_t = dF/dt vanish where the law holds. Here U is the pair SoH, RUL.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.heads import LOG_SIGMA_SOH, Heads
from models.losses import Targets, data_loss
from models.network import Network, masked_mean

LEAST = 1e-4  # loss, in standardised units, below which a term weighs no more


@dataclass(frozen=True)
class DeepHpmConfig:
    """Shape of the two networks. `columns` is C of the input scaler, whose last column is the cycle, our t."""

    columns: int
    hidden_size: int = 64
    dynamics_size: int = 32
    physics_weight: float = 0.5


class Physics(NamedTuple):
    """A network's output (B, 4) and what its law of degradation leaves over: F and dF/dt, (B, 2) each."""

    out: Tensor
    f: Tensor
    f_t: Tensor


class DeepHpm(Network):
    """U, smooth so that it can be differentiated twice, and G; the balance of the loss is learned.

    Kendall et al., CVPR 2018: the sum of exp(-s) L + s over L_u, L_f, L_ft. `LEAST` is added to every L, so that no s
    runs off where its term vanishes.
    """

    differentiates = True

    def __init__(self, config: DeepHpmConfig) -> None:
        super().__init__()
        self.columns = config.columns
        self.physics_weight = config.physics_weight
        self.time = config.columns - 1
        self.body = nn.Sequential(
            nn.Linear(2 * config.columns, config.hidden_size),
            nn.Tanh(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.Tanh(),
        )
        self.heads = Heads(config.columns, config.hidden_size)
        self.dynamics = nn.Sequential(
            nn.Linear(2 * config.columns + 2, config.dynamics_size),
            nn.Tanh(),
            nn.Linear(config.dynamics_size, 2),
        )
        self.log_weights = nn.Parameter(torch.zeros(3))  # s of L_u, L_f, L_ft

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        return self._solution(masked_mean(z, mask))

    def losses(self, z: Tensor, mask: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Minimised: the balanced sum; reported: L_u + physics_weight (L_f + L_ft)."""
        if self.physics_weight == 0:
            return super().losses(z, mask, targets)
        out, f, f_t = self.physics(z, mask)
        physics = self.physics_weight * torch.stack([f.square().mean(), f_t.square().mean()])
        terms = torch.cat([data_loss(out, targets)[None], physics])
        s = self.log_weights
        return (torch.exp(-s) * (terms + LEAST) + s).sum(), terms.sum()

    def physics(self, z: Tensor, mask: Tensor) -> Physics:
        """As `forward`, with the residuals of the law; needs gradients to be on, in validation too."""
        present = masked_mean(z, mask).detach()
        t = present[:, self.time : self.time + 1].clone().requires_grad_()
        present = torch.cat([present[:, : self.time], t, present[:, self.time + 1 :]], dim=1)
        out = self._solution(present)
        health = out[:, :LOG_SIGMA_SOH]
        f = _rate(health, t) - self.dynamics(torch.cat([present, health], dim=1))
        return Physics(out, f, _rate(f, t))

    def _solution(self, present: Tensor) -> Tensor:
        out: Tensor = self.heads(self.body(present), present[:, : self.columns])
        return out


def _rate(values: Tensor, t: Tensor) -> Tensor:
    """Differentiate each column of (B, 2) values by t (B, 1), each row by itself."""
    columns = [torch.autograd.grad(values[:, i].sum(), t, create_graph=True)[0] for i in range(values.shape[1])]
    return torch.cat(columns, dim=1)
