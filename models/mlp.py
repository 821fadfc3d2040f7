"""`baseline`: a feed-forward network on one vector of features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.heads import Heads


@dataclass(frozen=True)
class MlpConfig:
    """Shape of the network. `columns` is C of the input scaler."""

    columns: int
    hidden_size: int = 64


class Mlp(nn.Module):
    """The mean of the window's known steps (one step by default) through two hidden layers."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * config.columns, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.SiLU(),
        )
        self.heads = Heads(config.columns, config.hidden_size)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        present = masked_mean(z, mask)
        out: Tensor = self.heads(self.body(present), present)
        return out


def masked_mean(z: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) over the steps that are there."""
    weight = mask.to(z.dtype)[..., None]
    return torch.sum(z * weight, dim=1) / weight.sum(dim=1).clamp(min=1.0)
