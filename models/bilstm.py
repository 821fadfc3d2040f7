"""`bilstm`: a bidirectional LSTM over the window's cycles."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.heads import Heads
from models.mlp import masked_mean


@dataclass(frozen=True)
class BiLstmConfig:
    """Shape of the network. `columns` is C of the input scaler."""

    columns: int
    hidden_size: int = 64


class BiLstm(nn.Module):
    """Both directions over all steps; the last step's state and the mean over the known steps go to the heads."""

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * config.columns + 1, config.hidden_size, batch_first=True, bidirectional=True)
        self.heads = Heads(config.columns, 4 * config.hidden_size)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        states, _ = self.lstm(torch.cat([z, mask.to(z.dtype)[..., None]], dim=-1))  # (B, T, 2H)
        hidden = torch.cat([states[:, -1], masked_mean(states, mask)], dim=1)  # (B, 4H)
        out: Tensor = self.heads(hidden, z[:, -1])
        return out
