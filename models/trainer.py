"""The run of a Lightning module: epochs told, saved, resumed; stopped when asked. Writes to `checkpoint_dir` alone."""

import logging
import math
import pickle
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from models.lightning_modules import HealthModule
from models.observer import Epoch, Observer, Stopped, TrainingFailed, counted

CHECKPOINT = "last.ckpt"
LARGE_BATCH = 1024  # windows, from which on several CPU threads are worth their waiting for each other


def train(
    module: HealthModule, observer: Observer, *, fingerprint: str, checkpoint_dir: Path | None, accelerator: str
) -> list[Epoch]:
    """Train `module` to its last epoch; its best weights are then in `module.past`.

    `fingerprint` names data and hyperparameters: a checkpoint of another run is not resumed.

    Raises:
        Stopped: the observer asked for it.
        TrainingFailed: the loss left the finite.
    """

    def ask() -> None:
        if observer.should_stop():
            raise Stopped("training was stopped")

    module.before_batch = ask
    resumed = _resumable(checkpoint_dir, fingerprint)
    callback = EveryEpoch(observer, checkpoint_dir, fingerprint)
    with _quiet():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=module.hyperparameters.epochs,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,
            deterministic="warn" if accelerator != "cpu" and torch.cuda.is_available() else None,  # a CPU is so anyway
            default_root_dir=str(checkpoint_dir) if checkpoint_dir else None,
        )
        threads = counted(torch.get_num_threads(), "CPU thread", "CPU threads")
        observer.log("info", f"Device: {trainer.strategy.root_device}, {threads}")
        if resumed is not None:
            observer.log("info", "Resuming from the checkpoint of the last epoch that was saved")
        if resumed is not None and _recalled(module, resumed):
            return [Epoch(**epoch) for epoch in module.past.epochs]
        trainer.fit(module, ckpt_path=None if resumed is None else str(resumed), weights_only=True)
    return [Epoch(**epoch) for epoch in module.past.epochs]


class EveryEpoch(Checkpoint):
    """Tells and saves every epoch."""

    def __init__(self, observer: Observer, folder: Path | None, fingerprint: str) -> None:
        self.observer, self.folder, self.fingerprint = observer, folder, fingerprint
        self.started = time.monotonic()

    def on_train_epoch_start(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
    ) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the best weights, tell, save."""
        if not isinstance(pl_module, HealthModule):
            raise TypeError("not a HealthModule")
        epoch = Epoch(
            epoch=trainer.current_epoch + 1,
            total=pl_module.hyperparameters.epochs,
            train_loss=pl_module.train_losses.mean(),
            val_loss=pl_module.validation_losses.mean(),
            seconds=time.monotonic() - self.started,
        )
        if not (math.isfinite(epoch.train_loss) and math.isfinite(epoch.val_loss)):
            raise TrainingFailed(
                f"the loss is no longer a finite number in epoch {epoch.epoch}; a learning rate below "
                f"{pl_module.hyperparameters.learning_rate:g} may help"
            )
        past = pl_module.past
        past.epochs.append(dict(vars(epoch)))
        if epoch.val_loss < past.best_loss:
            past.best_epoch, past.best_loss = epoch.epoch, epoch.val_loss
            past.best_weights = {k: v.detach().cpu().clone() for k, v in pl_module.ensemble.state_dict().items()}
        patience = pl_module.hyperparameters.patience
        if patience is not None and epoch.epoch - past.best_epoch >= patience:
            trainer.should_stop = True
        self.observer.epoch(epoch)
        if self.folder is not None:
            _save(trainer, self.folder)
        if trainer.should_stop:
            self.observer.log(
                "info",
                f"Early stopping after epoch {epoch.epoch} of {epoch.total}: no better validation loss for "
                f"{patience} epochs; the best was {past.best_loss:.4g} in epoch {past.best_epoch}",
            )

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Say what run the checkpoint is of."""
        checkpoint["fingerprint"] = self.fingerprint


def _save(trainer: pl.Trainer, folder: Path) -> None:
    """Write whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CHECKPOINT}.partial"
    trainer.save_checkpoint(partial)
    partial.replace(folder / CHECKPOINT)


def _resumable(folder: Path | None, fingerprint: str) -> Path | None:
    """Give the checkpoint if it is of this run and whole; else training starts anew."""
    path = None if folder is None else folder / CHECKPOINT
    if path is None or not path.is_file():
        return None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # a machine that lost power may leave it torn
        return None
    return path if checkpoint.get("fingerprint") == fingerprint else None


def _recalled(module: HealthModule, path: Path) -> bool:
    """Whether the run ended early and only its registering is missing: it must not train past its stop.

    If so, its epochs and best weights are remembered.
    """
    patience = module.hyperparameters.patience
    if patience is None:
        return False
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    past = checkpoint["past"]
    stopped: bool = past["epochs"][-1]["epoch"] - past["best_epoch"] >= patience
    if stopped:
        module.on_load_checkpoint(checkpoint)
    return stopped


@contextmanager
def few_threads(batch_size: int) -> Iterator[None]:
    """Compute small batches on one CPU thread.

    Two threads gain nothing on them, and wait for each other for seconds where other processes want the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if batch_size < LARGE_BATCH else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice to its console out of ours; what matters goes to the observer."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)
