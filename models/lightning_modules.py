"""How the networks learn: Lightning modules round an ensemble that is passed in. One `model_step` for all phases.

The whole set lies on the device as tensors; a batch is a tensor of row numbers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Generator, Tensor

from batteries.splits import Split
from batteries.windows import Windows
from models.augmentation import dropped_columns, families, truncate
from models.ensemble import Ensemble
from models.hyperparameters import Hyperparameters
from models.losses import Targets
from models.scaling import TargetScale

WEIGHT_DECAY = 1e-2
GRADIENT_CLIP = 5.0
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


@dataclass(frozen=True, eq=False)
class Lessons:
    """Which rows of the training set teach each of K networks, and which of the validation set it is judged on."""

    teaches: Tensor  # (K, B) bool
    validates: Tensor  # (K, B') bool

    @staticmethod
    def of(parts: Split) -> "Lessons":
        """As the split says."""
        numbers = range(len(parts.withheld))
        return Lessons(
            torch.from_numpy(np.stack([parts.teaches(number) for number in numbers])),
            torch.from_numpy(np.stack([parts.validates(number) for number in numbers])),
        )


class Epochs:
    """A loader of one item: the row numbers of each of an epoch's batches, in a new order every epoch.

    With no generator, in their own order. What a trainer does around an item would cost more than a small step itself.
    """

    def __init__(self, rows: int, size: int, generator: Generator | None = None) -> None:
        self.rows, self.size, self.generator = rows, size, generator

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = (
            torch.arange(self.rows) if self.generator is None else torch.randperm(self.rows, generator=self.generator)
        )
        yield torch.split(order, self.size)


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

    before_batch: Callable[[], None] | None = None  # may raise, and so end the training
    # Of the whole set, on the device, from `on_fit_start` on: what the networks see (B, T, 2C); of training also the
    # scaled columns (B, T, C) that it is filled from, and which of them are unknown.
    train_z: Tensor
    validation_z: Tensor
    scaled: Tensor
    missing: Tensor

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        train: Tensors,
        validation: Tensors,
        hyperparameters: Hyperparameters,
        feature_names: Sequence[str],
        lessons: Lessons,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ensemble = ensemble
        self.hyperparameters = hyperparameters
        self.train_set, self.validation_set = train, validation
        self.families = families(feature_names)
        self.teaches, self.validates = lessons.teaches, lessons.validates
        self.generator = Generator().manual_seed(hyperparameters.seed)
        self.train_losses, self.validation_losses = Losses(), Losses()
        self.past = History()

    def train_dataloader(self) -> Epochs:
        """Shuffled batches."""
        return Epochs(len(self.train_set), self.hyperparameters.batch_size, self.generator)

    def val_dataloader(self) -> Epochs:
        """All of validation, in a few large batches."""
        return Epochs(len(self.validation_set), VALIDATION_CHUNK)

    def on_fit_start(self) -> None:
        """Put the whole set, scaled once, on the device."""
        self.train_set, self.validation_set = (part.to(self.device) for part in (self.train_set, self.validation_set))
        self.teaches, self.validates = (part.to(self.device) for part in (self.teaches, self.validates))
        scaler = self.ensemble.scaler
        with torch.no_grad():
            self.scaled, self.missing = scaler.standardised(self.train_set.x, self.train_set.cycle_index)
            self.train_z = scaler.filled(self.scaled, self.missing, self.train_set.mask)
            validation = self.validation_set
            self.validation_z = scaler(validation.x, validation.mask, validation.cycle_index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the learning rate is set at the start of every epoch."""
        return torch.optim.AdamW(
            self.ensemble.members.parameters(),
            lr=self.hyperparameters.learning_rate,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )

    def on_train_epoch_start(self) -> None:
        """Set the learning rate: along a cosine from the one asked for to a fiftieth of it."""
        share = self.current_epoch / self.hyperparameters.epochs
        rate = self.hyperparameters.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self.train_losses, self.validation_losses = Losses(), Losses()

    def training_step(self, batches: Sequence[Tensor], _epoch: int) -> None:
        """One epoch: a step of the optimiser for each batch."""
        optimiser = self.trainer.optimizers[0]
        parameters = list(self.ensemble.members.parameters())
        for rows in batches:
            if self.before_batch is not None:
                self.before_batch()
            optimiser.zero_grad()
            self.manual_backward(self.batch_loss(rows))
            torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
            optimiser.step()

    def batch_loss(self, rows: Tensor) -> Tensor:
        """One batch, with steps and columns taken away at random."""
        data = self.train_set
        mask = truncate(data.mask[rows], self.generator)
        dropped = dropped_columns(self.families, self.generator)
        if dropped is None:
            z = self.train_z[rows] * mask[..., None]
        else:
            without = dropped.to(self.device)
            scaled, missing = self.scaled[rows].masked_fill(without, 0.0), self.missing[rows] | without
            z = self.ensemble.scaler.filled(scaled, missing, mask)
        return self.model_step(z, mask, data.targets[rows], shown=self.teaches[:, rows], losses=self.train_losses)

    def validation_step(self, chunks: Sequence[Tensor], _epoch: int) -> None:
        """All of validation, as it is."""
        data = self.validation_set
        with torch.set_grad_enabled(any(network.differentiates for network in self.ensemble.networks())):
            for rows in chunks:
                z, mask, targets = self.validation_z[rows], data.mask[rows], data.targets[rows]
                self.model_step(z, mask, targets, shown=self.validates[:, rows], losses=self.validation_losses)

    def model_step(self, z: Tensor, mask: Tensor, targets: Targets, *, shown: Tensor, losses: Losses) -> Tensor:
        """Give what is minimised, summed over the networks; count into `losses` what is reported.

        `shown` (K, B): the rows that each network looks at.
        """
        total = z.new_zeros((), requires_grad=True)
        for member, rows in zip(self.ensemble.networks(), shown, strict=True):
            count = int(rows.sum())
            if count == 0:
                continue
            some = (z, mask, targets) if count == len(rows) else (z[rows], mask[rows], targets[rows])
            objective, loss = member.losses(*some)
            total = total + objective
            losses.add(loss, count)
        return total

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
