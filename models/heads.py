"""The heads that every network ends in: SoH, RUL, and how far off each may be."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SOH, RUL, LOG_SIGMA_SOH, LOG_SIGMA_RUL = range(4)  # columns of a network's output


class Heads(nn.Module):
    """Hidden state and last step to (B, 4), in standardised units.

    The means are a linear model of the last step (fitted in closed form before training, then fixed) plus what the
    network adds, which is nothing at first: outside the training range a straight line errs less than a network.
    The spreads are fitted to the errors of the finished network, see `models.spread`.
    """

    linear_weight: Tensor
    linear_bias: Tensor
    spread_floor: Tensor  # (2,) least log sigma that is believed

    def __init__(self, columns: int, hidden: int) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("linear_weight", torch.zeros(2, columns))
        self.register_buffer("linear_bias", torch.zeros(2))
        self.mean = nn.Linear(hidden, 2)
        self.spread = nn.Linear(hidden, 2)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -1.0)
        self.register_buffer("spread_floor", torch.full((2,), -6.0))

    def forward(self, hidden: Tensor, last: Tensor) -> Tensor:
        """`hidden` (B, H), `last` (B, >=C) scaled columns of the cycle asked about. RUL comes out positive."""
        mean = functional.linear(last[:, : self.columns], self.linear_weight, self.linear_bias) + self.mean(hidden)
        spread = torch.maximum(self.spread(hidden.detach()), self.spread_floor).clamp(max=3.0)
        rul = functional.softplus(mean[:, RUL : RUL + 1], beta=10.0)
        return torch.cat([mean[:, :RUL], rul, spread], dim=1)
