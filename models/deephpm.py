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
from models.mlp import masked_mean


@dataclass(frozen=True)
class DeepHpmConfig:
    """Shape of the two networks. `columns` is C of the input scaler, whose last column is the cycle, our t."""

    columns: int
    hidden_size: int = 64
    dynamics_size: int = 32


class Physics(NamedTuple):
    """A network's output (B, 4) and what its law of degradation leaves over: F and dF/dt, (B, 2) each."""

    out: Tensor
    f: Tensor
    f_t: Tensor


class DeepHpm(nn.Module):
    """U, smooth so that it can be differentiated twice, and G."""

    def __init__(self, config: DeepHpmConfig) -> None:
        super().__init__()
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
        self.log_weights = nn.Parameter(torch.zeros(3))  # s of L_u, L_f, L_ft: loss = sum of exp(-s) L + s

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        return self._solution(masked_mean(z, mask))

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
        out: Tensor = self.heads(self.body(present), present)
        return out


def _rate(values: Tensor, t: Tensor) -> Tensor:
    """Differentiate each column of (B, 2) values by t (B, 1), each row by itself."""
    columns = [torch.autograd.grad(values[:, i].sum(), t, create_graph=True)[0] for i in range(values.shape[1])]
    return torch.cat(columns, dim=1)
