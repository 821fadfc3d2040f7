"""The heads that every network ends in: SoH, RUL, and how far off each may be."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Base

NOVELTY = 10.0  # variance, in standardised units, where nothing like the input was seen
LEAST = 1e-12  # variance
SOH, RUL, LOG_SIGMA_SOH, LOG_SIGMA_RUL = range(4)  # columns of a network's output


class Heads(nn.Module):
    """Hidden state and present state to (B, 4), in standardised units.

    The means are a regression on the present state (fitted in closed form before training, then fixed) plus what the
    network adds, which is nothing at first. How much of it is believed (`trust`) is fitted after training on what the
    network did not learn from. The spreads are fitted to the errors of the finished network, see `models.spread`; to
    them comes what is due to how far the input is from all that the regression was fitted to.
    """

    spread_floor: Tensor  # (2,) least log sigma that is believed
    novelty: Tensor  # () variance where nothing like the input was seen
    trust: Tensor  # (2,) 0..1, of what the network adds to the regression

    def __init__(self, inputs: int, hidden: int, spans: int = 1) -> None:
        super().__init__()
        self.base = Base(inputs, spans)
        self.mean = nn.Linear(hidden, 2)
        self.spread = nn.Linear(hidden, 2)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -1.0)
        self.register_buffer("trust", torch.ones(2))
        self.register_buffer("spread_floor", torch.full((2,), -6.0))
        self.register_buffer("novelty", torch.tensor(NOVELTY))

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        """`hidden` (B, H), `present` (B, inputs) scaled columns that the regression takes. RUL comes out positive."""
        known, novelty = self.base(present)
        mean = known + self.trust * self.mean(hidden)
        spread = torch.maximum(self.spread(hidden.detach()), self.spread_floor).clamp(max=3.0)
        spread = 0.5 * torch.logaddexp(2 * spread, torch.log((self.novelty * novelty).clamp(min=LEAST)))
        rul = functional.softplus(mean[:, RUL : RUL + 1], beta=10.0)
        return torch.cat([mean[:, :RUL], rul, spread], dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A model of before novelty counted was calibrated without it."""
        state_dict.setdefault(prefix + "novelty", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def slope(self, columns: int) -> Tensor:
        """Mean slope (2, C) of the regression in each of the scaled columns, wherever they enter it."""
        return self.base.slope.reshape(2, -1, columns).sum(dim=1)
