"""`baseline`: a feed-forward network on one vector of features."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.heads import Heads
from models.network import Network, masked_mean


@dataclass(frozen=True)
class MlpConfig:
    """Shape of the network. `columns` is C of the input scaler."""

    columns: int
    hidden_size: int = 64


class Mlp(Network):
    """The mean of the window's known steps (one step by default) through two hidden layers."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.columns = config.columns
        self.body = nn.Sequential(
            nn.Linear(2 * config.columns, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.SiLU(),
        )
        self.heads = Heads(config.columns, config.hidden_size)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        steps = masked_mean(z, mask)
        out: Tensor = self.heads(self.body(steps), steps[:, : self.columns])
        return out
