"""Time of an epoch: ours, a hand-written loop over the same tensors, and Lightning with a default DataLoader.

    python benchmarks/epoch.py [--algorithm bilstm] [--cells 6] [--cycles 150] [--epochs 8] [--repetitions 3]

All train one network of the same shape on the same windows with the same batches and loss; they take turns, and the
best repetition of each counts. The loop by hand is run twice: as one would write it first, and losing columns in as
many batches as ours does. Prints one line of JSON.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from batteries.splits import split
from batteries.windows import History
from models.augmentation import dropped_columns, truncate
from models.ensemble import Ensemble
from models.hyperparameters import HYPERPARAMETERS, Hyperparameters
from models.lightning_modules import HealthModule, Lessons, Tensors
from models.losses import Targets, data_loss
from models.observer import Epoch, Level
from models.scaling import TargetScale
from models.trainer import few_threads, train

FEATURES = 39


class Silent:
    """Times epochs, says nothing."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def log(self, level: Level, message: str) -> None:
        """Nothing."""

    def epoch(self, epoch: Epoch) -> None:
        self.seconds.append(epoch.seconds)

    def should_stop(self) -> bool:
        return False


def prepared(algorithm: str, cells: int, cycles: int, asked: Hyperparameters) -> HealthModule:
    """A module ready to train, on cells that are noise around a fade."""
    rng = np.random.default_rng(0)
    histories = []
    for number in range(cells):
        soh = np.linspace(1.0, 0.75, cycles)
        features = soh[:, None] + 0.1 * rng.normal(size=(cycles, FEATURES))
        histories.append(History(f"c{number}", np.arange(cycles), features, soh, np.arange(cycles)[::-1].astype(float)))
    parts = split(histories, asked.window, networks=1)
    scale = TargetScale.fit(*(torch.from_numpy(a) for a in (parts.train.soh, parts.train.rul, parts.train.rul)))
    ensemble = Ensemble.of(algorithm, asked, FEATURES)
    training, validation = Tensors.of(parts.train, scale), Tensors.of(parts.validation, scale)
    ensemble.scaler.fit(training.x[:, -1], training.cycle_index[:, -1])
    names = [f"f_{number}" for number in range(FEATURES)]
    return HealthModule(
        ensemble,
        train=training,
        validation=validation,
        hyperparameters=asked,
        feature_names=names,
        lessons=Lessons.of(parts),
    )


def ours(module: HealthModule) -> float:
    """Our module through our trainer, validation included."""
    observer = Silent()
    train(module, observer, fingerprint="", checkpoint_dir=None, accelerator="cpu")
    return min(observer.seconds[1:])


def by_hand(module: HealthModule, *, loses_columns: bool = False) -> float:
    """The same step in a plain loop: scaled once, shuffled indices, validation after each epoch."""
    ensemble, generator = module.ensemble, torch.Generator().manual_seed(0)
    data, held_out = module.train_set, module.validation_set
    with torch.no_grad():
        z, other = (ensemble.scaler(part.x, part.mask, part.cycle_index) for part in (data, held_out))
    network, asked = ensemble.members[0], module.hyperparameters
    optimiser = torch.optim.AdamW(network.parameters(), lr=asked.learning_rate)
    seconds = []
    for _ in range(asked.epochs):
        began = time.perf_counter()
        for rows in torch.split(torch.randperm(len(z), generator=generator), asked.batch_size):
            mask = truncate(data.mask[rows], generator)
            dropped = dropped_columns(module.families, generator) if loses_columns else None
            if dropped is None:
                seen = z[rows] * mask[..., None]
            else:
                x = data.x[rows].masked_fill(dropped[:-1], torch.nan)
                seen = ensemble.scaler(x, mask, data.cycle_index[rows].masked_fill(dropped[-1], torch.nan))
            optimiser.zero_grad()
            loss = data_loss(network(seen, mask), data.targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
        with torch.no_grad():
            data_loss(network(other, held_out.mask), held_out.targets)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


class Plain(pl.LightningModule):
    """The same network as one would write it first: windows from a DataLoader, scaled in the step."""

    def __init__(self, module: HealthModule) -> None:
        super().__init__()
        self.ensemble, self.rate = module.ensemble, module.hyperparameters.learning_rate
        self.began, self.seconds = 0.0, list[float]()

    def _loss(self, batch: list[Tensor]) -> Tensor:
        x, mask, index, soh, rul, bound = batch
        z = self.ensemble.scaler(x, mask, index)
        return data_loss(self.ensemble.members[0](z, mask), Targets(soh, rul, bound))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self._loss(batch)

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds.append(time.perf_counter() - self.began)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.ensemble.members.parameters(), lr=self.rate)


def with_dataloader(module: HealthModule) -> float:
    """Lightning with `DataLoader(dataset, batch_size, shuffle)`."""

    def loader(part: Tensors, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
        columns = (part.x, part.mask, part.cycle_index, *vars(part.targets).values())
        return DataLoader(TensorDataset(*columns), module.hyperparameters.batch_size, shuffle=shuffle)

    plain = Plain(module)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=module.hyperparameters.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=5.0,
    )
    trainer.fit(plain, loader(module.train_set, shuffle=True), loader(module.validation_set, shuffle=False))
    return min(plain.seconds[1:])


def rounds(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Seconds an epoch of each way, in turn."""
    asked = HYPERPARAMETERS[options.algorithm](epochs=options.epochs, ensemble_size=1)
    ways: dict[str, Callable[[HealthModule], float]] = {
        "ours": ours,
        "by hand": by_hand,
        "by hand, same work": partial(by_hand, loses_columns=True),
        "dataloader": with_dataloader,
    }
    for _ in range(options.repetitions):
        for name, way in ways.items():
            yield name, way(prepared(options.algorithm, options.cells, options.cycles, asked))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithm", choices=("bilstm", "baseline"), default="bilstm")
    for name, default in (("cells", 6), ("cycles", 150), ("epochs", 8), ("repetitions", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    warnings.filterwarnings("ignore", module="lightning")
    best: dict[str, float] = {}
    with few_threads(32):
        for name, seconds in rounds(parser.parse_args()):
            best[name] = min(seconds, best.get(name, seconds))
    result: dict[str, Any] = {name: round(seconds, 4) for name, seconds in best.items()}
    result |= {
        "ours / by hand": round(best["ours"] / best["by hand"], 2),
        "ours / same work": round(best["ours"] / best["by hand, same work"], 2),
        "dataloader / ours": round(best["dataloader"] / best["ours"], 2),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
