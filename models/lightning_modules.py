"""How the networks learn: Lightning modules round an ensemble that is passed in. One `model_step` for all phases.

The whole set lies on the device as tensors; a batch is a tensor of row numbers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Generator, Tensor

from batteries.windows import Windows
from models.augmentation import dropped_columns, families, truncate
from models.deephpm import DeepHpm
from models.ensemble import Ensemble
from models.hyperparameters import DeepHpmHyperparameters, Hyperparameters
from models.losses import Targets, data_loss
from models.scaling import TargetScale

WEIGHT_DECAY = 1e-2
LOG_WEIGHT_RANGE = 3.0  # of the learned balance of DeepHPM's terms, lest a term be weighed away
VALIDATION_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Tensors:
    """Windows on the device, targets standardised."""

    x: Tensor  # (B, T, F)
    mask: Tensor  # (B, T)
    cycle_index: Tensor  # (B, T)
    targets: Targets

    @staticmethod
    def of(windows: Windows, scale: TargetScale) -> "Tensors":
        """Standardise windows' targets; on the CPU."""
        soh, rul, bound = (
            torch.tensor(values, dtype=torch.float32)
            for values in (
                (windows.soh - scale.soh_mean) / scale.soh_std,
                windows.rul / scale.rul_scale,
                windows.rul_lower_bound / scale.rul_scale,
            )
        )
        return Tensors(
            x=torch.from_numpy(windows.x),
            mask=torch.from_numpy(windows.mask),
            cycle_index=torch.tensor(windows.cycle_index, dtype=torch.float32),
            targets=Targets(soh, rul, bound),
        )

    def to(self, device: torch.device) -> "Tensors":
        """Move all of it."""
        targets = Targets(*(getattr(self.targets, field.name).to(device) for field in fields(Targets)))
        return Tensors(self.x.to(device), self.mask.to(device), self.cycle_index.to(device), targets)

    def __len__(self) -> int:
        return len(self.x)


class Batches:
    """Row numbers of each batch, in a new order every epoch; with no generator, in their own order."""

    def __init__(self, rows: int, size: int, generator: Generator | None = None) -> None:
        self.rows, self.size, self.generator = rows, min(size, rows), generator

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)

    def __iter__(self) -> Iterator[Tensor]:
        order = (
            torch.arange(self.rows) if self.generator is None else torch.randperm(self.rows, generator=self.generator)
        )
        yield from torch.split(order, self.size)


@dataclass
class Losses:
    """Running mean of an epoch's losses; stays on the device until it is asked for."""

    total: Tensor | float = 0.0
    rows: int = 0

    def add(self, loss: Tensor, rows: int) -> None:
        """Count a batch in."""
        self.total = self.total + loss.detach() * rows
        self.rows += rows

    def mean(self) -> float:
        """Mean over the rows seen."""
        return float(self.total) / max(self.rows, 1)


@dataclass
class History:
    """Losses of the epochs so far and the best weights, as a checkpoint keeps them."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class HealthModule(pl.LightningModule):
    """Trains K networks side by side on the same batches; each has its own part of the sum of losses."""

    def __init__(
        self,
        ensemble: Ensemble,
        train: Tensors,
        validation: Tensors,
        hyperparameters: Hyperparameters,
        feature_names: Sequence[str],
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.hyperparameters = hyperparameters
        self.train_set, self.validation_set = train, validation
        self.families = families(feature_names)
        self.generator = Generator().manual_seed(hyperparameters.seed)
        self.train_z, self.validation_z = train.x, validation.x
        self.train_losses, self.validation_losses = Losses(), Losses()
        self.past = History()

    def train_dataloader(self) -> Batches:
        """Shuffled batches."""
        return Batches(len(self.train_set), self.hyperparameters.batch_size, self.generator)

    def val_dataloader(self) -> Batches:
        """All of validation, in a few large batches."""
        return Batches(len(self.validation_set), VALIDATION_CHUNK)

    def on_fit_start(self) -> None:
        """Put the whole set, scaled once, on the device."""
        self.train_set, self.validation_set = (part.to(self.device) for part in (self.train_set, self.validation_set))
        with torch.no_grad():
            self.train_z, self.validation_z = (
                self.ensemble.scaler(part.x, part.mask, part.cycle_index)
                for part in (self.train_set, self.validation_set)
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the learning rate is set at the start of every epoch."""
        return torch.optim.AdamW(
            self.ensemble.members.parameters(), lr=self.hyperparameters.learning_rate, weight_decay=WEIGHT_DECAY
        )

    def on_train_epoch_start(self) -> None:
        """Set the learning rate: along a cosine from the one asked for to a fiftieth of it."""
        share = self.current_epoch / self.hyperparameters.epochs
        rate = self.hyperparameters.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self.train_losses, self.validation_losses = Losses(), Losses()

    def training_step(self, rows: Tensor, _batch: int) -> Tensor:
        """One batch, with steps and columns taken away at random."""
        data = self.train_set
        rows = rows.to(self.device)
        mask = truncate(data.mask[rows], self.generator)
        dropped = dropped_columns(self.families, self.generator)
        if dropped is None:
            z = self.train_z[rows] * mask[..., None]
        else:
            without = dropped.to(self.device)
            x = data.x[rows].masked_fill(without[:-1], torch.nan)
            index = data.cycle_index[rows].masked_fill(without[-1], torch.nan)
            z = self.ensemble.scaler(x, mask, index)
        objective, loss = self.model_step(z, mask, data.targets[rows])
        self.train_losses.add(loss, len(rows))
        return objective

    def validation_step(self, rows: Tensor, batch: int) -> None:  # noqa: ARG002
        """One chunk of validation, as it is."""
        rows = rows.to(self.device)
        data = self.validation_set
        loss = self.model_step(self.validation_z[rows], data.mask[rows], data.targets[rows])[1]
        self.validation_losses.add(loss, len(rows))

    def model_step(self, z: Tensor, mask: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Give what is minimised, summed over the networks, and the loss that is reported, their mean."""
        objectives, losses = zip(*(self.member_step(m, z, mask, targets) for m in self.ensemble.members), strict=True)
        return torch.stack(objectives).sum(), torch.stack(losses).mean()

    def member_step(self, member: torch.nn.Module, z: Tensor, mask: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Objective and reported loss of one network."""
        out = member(z, mask)
        loss = data_loss(out, targets)
        return loss, loss

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add what a resumed run needs to give the same numbers; the data are not saved."""
        checkpoint["generator"] = self.generator.get_state()
        checkpoint["past"] = dict(vars(self.past))

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Go on where the checkpoint was written."""
        state, past = checkpoint["generator"], checkpoint["past"]
        if not isinstance(state, Tensor) or not isinstance(past, dict):
            raise TypeError("not a checkpoint of this module")
        self.generator.set_state(state)
        self.past = History(**past)


class PhysicsModule(HealthModule):
    """Adds DeepHPM's terms: the law's residual and its rate, with learned balance (Kendall et al., CVPR 2018)."""

    def validation_step(self, rows: Tensor, batch: int) -> None:
        """As above, with gradients on: the residuals are derivatives."""
        with torch.enable_grad():
            super().validation_step(rows, batch)

    def member_step(self, member: torch.nn.Module, z: Tensor, mask: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Objective: sum of exp(-s) L + s over L_u, L_f, L_ft; reported: L_u + physics_weight (L_f + L_ft)."""
        if not isinstance(member, DeepHpm) or not isinstance(self.hyperparameters, DeepHpmHyperparameters):
            raise TypeError("physics terms need a DeepHpm network")
        weight = self.hyperparameters.physics_weight
        out, f, f_t = member.physics(z, mask)
        data = data_loss(out, targets)
        if weight == 0:
            return data, data
        terms = torch.stack([data, weight * f.square().mean(), weight * f_t.square().mean()])
        s = member.log_weights.clamp(-LOG_WEIGHT_RANGE, LOG_WEIGHT_RANGE)
        return (torch.exp(-s) * terms + s).sum(), terms.sum()
