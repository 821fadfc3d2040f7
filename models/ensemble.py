"""K networks of one architecture behind one input scaler, and what they say together."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.catalog import CATALOG
from models.heads import LOG_SIGMA_RUL, LOG_SIGMA_SOH, RUL, SOH, Heads
from models.hyperparameters import Hyperparameters
from models.network import Network
from models.scaling import InputScaler, TargetScale


@dataclass(frozen=True)
class Estimate:
    """What the ensemble says of B cycles, in natural units; sigmas are relative sizes until calibrated."""

    soh: Tensor  # (B,)
    soh_sigma: Tensor  # (B,)
    rul: Tensor  # (B,) cycles
    rul_sigma: Tensor  # (B,) cycles


class Ensemble(nn.Module):
    """The scaler and K networks that start differently."""

    def __init__(self, scaler: InputScaler, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.scaler = scaler
        self.members = nn.ModuleList(networks)

    @staticmethod
    def of(algorithm: str, hyperparameters: Hyperparameters, features: int, networks: int | None = None) -> "Ensemble":
        """Make so many networks, by default as many as the hyperparameters say."""
        scaler, build = InputScaler(features), CATALOG[algorithm]
        count = networks or hyperparameters.ensemble_size
        return Ensemble(scaler, [build(scaler.columns, hyperparameters) for _ in range(count)])

    def only(self, *networks: int) -> "Ensemble":
        """Give an ensemble of some of these very networks, by number."""
        return Ensemble(self.scaler, [self.members[number] for number in networks])

    def networks(self) -> list[Network]:
        """Each network, by number."""
        return [member for member in self.members if isinstance(member, Network)]

    def heads(self) -> list[Heads]:
        """Heads of each network."""
        return [network.heads for network in self.networks()]

    def forward(self, x: Tensor, mask: Tensor, cycle_index: Tensor) -> Tensor:
        """Raw windows (B, T, F), (B, T), (B, T) to outputs (K, B, 4) in standardised units."""
        z = self.scaler(x, mask, cycle_index)
        return torch.stack([member(z, mask) for member in self.members])

    @torch.no_grad()
    def estimate(self, x: Tensor, mask: Tensor, cycle_index: Tensor, scale: TargetScale) -> Estimate:
        """Mean of the networks; sigma from their spread, their own doubt, what was filled in, and what lies outside.

        What was filled in counts by the networks' lines; outside is the distance from the training range.
        """
        out = self(x, mask, cycle_index)
        beyond = self.scaler.outside(x[:, -1], cycle_index[:, -1]).clamp(max=10.0).mean(dim=1)

        lines = torch.cat([heads.slope(self.scaler.columns) for heads in self.heads()])  # (2K, C): SoH, RUL, SoH, …
        guessed = self.scaler.guessed_variance(x[:, -1], cycle_index[:, -1], lines)

        def sigma(mean: int, log_sigma: int) -> Tensor:
            variance = out[..., mean].var(dim=0, unbiased=False) + (2 * out[..., log_sigma]).exp().mean(dim=0)
            variance = variance + guessed[:, mean::2].mean(dim=1)
            doubt: Tensor = variance.sqrt() * (1 + beyond)
            return doubt

        return Estimate(
            soh=out[..., SOH].mean(dim=0) * scale.soh_std + scale.soh_mean,
            soh_sigma=sigma(SOH, LOG_SIGMA_SOH) * scale.soh_std,
            rul=out[..., RUL].mean(dim=0) * scale.rul_scale,
            rul_sigma=sigma(RUL, LOG_SIGMA_RUL) * scale.rul_scale,
        )
