"""What every network of the catalog has in common."""

import torch
from torch import Tensor, nn

from models.heads import Heads
from models.losses import Targets, data_loss


class Network(nn.Module):
    """Scaled windows (B, T, 2C) and their mask (B, T) to (B, 4), see `models.heads`; it knows its own loss."""

    columns: int  # C of the input scaler
    heads: Heads
    differentiates = False  # whether its loss holds derivatives of the network, so that validation needs gradients too

    def present(self, z: Tensor, mask: Tensor) -> Tensor:
        """What the regression of the heads takes: the mean of the known steps, (B, C)."""
        return masked_mean(z[..., : self.columns], mask)

    def losses(self, z: Tensor, mask: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Give what is minimised, and what is reported."""
        loss = data_loss(self(z, mask), targets)
        return loss, loss


def masked_mean(z: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) over the steps that are there."""
    weight = mask.to(z.dtype)[..., None]
    return torch.sum(z * weight, dim=1) / weight.sum(dim=1).clamp(min=1.0)
