"""`bilstm`: a bidirectional LSTM over the window's cycles."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.heads import Heads
from models.network import Network, masked_mean

PASTS = (16, 64)  # cycles of the past over which means are taken, beside that over the whole window
STEPS = 16  # of the LSTM at most; longer windows are averaged in blocks of neighbouring cycles


@dataclass(frozen=True)
class BiLstmConfig:
    """Shape of the network. `columns` is C of the input scaler, `window` the longest window."""

    columns: int
    hidden_size: int = 64
    window: int = STEPS


class BiLstm(Network):
    """Both directions over all steps; the last step, its state and the mean over the known steps go to the heads."""

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__()
        self.columns = config.columns
        self.block = math.ceil(config.window / STEPS)
        self.lstm = nn.LSTM(2 * config.columns + 1, config.hidden_size, batch_first=True, bidirectional=True)
        self.pasts = [length for length in PASTS if length < config.window]
        spans = 2 + len(self.pasts)
        self.heads = Heads(spans * config.columns, 4 * config.hidden_size + 2 * config.columns, spans)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """`z` (B, T, 2C), `mask` (B, T) to (B, 4), see `models.heads`."""
        steps, there = blocks(z, mask, self.block)
        states, _ = self.lstm(torch.cat([steps, there.to(z.dtype)[..., None]], dim=-1))  # (B, T / block, 2H)
        hidden = torch.cat([states[:, -1], masked_mean(states, there), z[:, -1]], dim=1)  # (B, 4H + 2C)
        out: Tensor = self.heads(hidden, self.present(z, mask))
        return out

    def present(self, z: Tensor, mask: Tensor) -> Tensor:
        """What the regression takes, (B, spans * C): the last step, then means over longer and longer pasts."""
        values = z[..., : self.columns]
        means = [masked_mean(values[:, -length:], mask[:, -length:]) for length in (*self.pasts, z.shape[1])]
        return torch.cat([values[:, -1], *means], dim=1)


def blocks(z: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Means (B, T / size, D) of the known steps of each block of neighbours, the last one whole; and which have any."""
    if size == 1:
        return z, mask
    missing = -z.shape[1] % size
    z, mask = functional.pad(z, (0, 0, missing, 0)), functional.pad(mask, (missing, 0))
    count, columns = z.shape[1] // size, z.shape[2]
    there = mask.reshape(-1, count, size)
    weight = there.to(z.dtype)[..., None]
    total = (z.reshape(-1, count, size, columns) * weight).sum(dim=2)
    return total / weight.sum(dim=2).clamp(min=1.0), there.any(dim=2)
