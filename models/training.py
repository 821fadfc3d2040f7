"""Training: from cells' histories to a bundle that predicts, with its scores.

Epochs are chosen on validation alone; the test windows are looked at once, at the end.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batteries.features import SCALE_FLOORS
from batteries.splits import Split, UnusableData, split
from batteries.windows import History, Windows, fingerprint, without_columns
from models.augmentation import absences
from models.bundle import ModelBundle
from models.calibration import Calibration, Kind, Scored, calibrate
from models.ensemble import Ensemble
from models.hyperparameters import HYPERPARAMETERS, Hyperparameters
from models.lightning_modules import HealthModule, Lessons, Tensors
from models.metrics import Judged, scores
from models.observer import Epoch, Observer, Stopped, TrainingFailed
from models.rehearsal import Rehearsal, answering, held_out, rehearsals
from models.scaling import TargetScale
from models.spread import fit_spreads
from models.starting import Beginning, start, target_scale
from models.trainer import few_threads, train
from models.trust import trust

__all__ = ["Epoch", "Fitted", "Observer", "Stopped", "TrainingFailed", "UnusableData", "fit"]

CALIBRATING = 4000  # windows of the teaching cells, at most, that confidence is calibrated on
REHEARSED = 200  # held-out windows, at most, that are judged again for each set of missing columns


@dataclass(frozen=True)
class Fitted:
    """A trained model and all that is known of it."""

    bundle: ModelBundle
    metrics: dict[str, float]  # of the bundle's weights: losses, held-out scores, see `models.metrics.scores`
    epochs: list[Epoch]
    split: Split
    judged: Judged  # of the test windows
    rehearsal: Calibration  # on validation alone, to judge confidence on the test windows with

    @cached_property
    def figures(self) -> dict[str, bytes]:
        """PNG pictures by file name: loss curve, predicted beside true, reliability."""
        from models.figures import draw

        return draw(self.epochs, self.judged, self.rehearsal)


def fit(
    algorithm: str,
    hyperparameters: Hyperparameters,
    histories: Sequence[History],
    *,
    observer: Observer,
    checkpoint_dir: Path | None = None,
    accelerator: str = "auto",
    feature_names: Sequence[str] | None = None,
    feature_version: int = 0,
    data_version: str | None = None,
    end_of_life: float = 0.8,
    test_cells: Sequence[str] | None = None,
) -> Fitted:
    """Train `algorithm` on `histories` and judge it on what it did not see.

    With `checkpoint_dir`, every epoch is saved there, and a run with the same data and hyperparameters goes on from it.
    `test_cells` names the cells that judge and take no other part; without it, see `batteries.splits`.
    An epoch is told before it is saved, so after a crash the observer may hear of the last one twice.

    Raises:
        UnusableData: too few cycles; says which battery and why.
        Stopped: the observer asked for it.
        TrainingFailed: the loss left the finite.
        ValueError: unknown algorithm, hyperparameters of another one, or names that are not one a feature.
    """
    if type(hyperparameters) is not HYPERPARAMETERS.get(algorithm):
        raise ValueError(f"{algorithm!r} is not trained with {type(hyperparameters).__name__}")
    parts = split(
        histories,
        hyperparameters.window,
        seed=hyperparameters.seed,
        end_of_life=end_of_life,
        networks=hyperparameters.ensemble_size,
        test_cells=test_cells,
    )
    _describe(parts, observer)
    features = parts.train.x.shape[2]
    names = tuple(feature_names or (f"f{number}" for number in range(features)))
    if len(names) != features:
        raise ValueError(f"{len(names)} names for {features} features")
    scale = target_scale(parts.train, end_of_life)
    metadata = {
        "algorithm": algorithm,
        "hyperparameters": hyperparameters.model_dump(),
        "window": parts.length,
        "feature_names": list(names),
        "feature_version": feature_version,
        "data_version": data_version,
        "end_of_life": end_of_life,
        **_provenance(parts, histories),
    }
    with few_threads(hyperparameters.batch_size):
        module, beginning = _module(algorithm, hyperparameters, parts, names, scale=scale, end_of_life=end_of_life)
        epochs = train(
            module,
            observer,
            fingerprint=_run_fingerprint(algorithm, hyperparameters, parts),
            checkpoint_dir=checkpoint_dir,
            accelerator=accelerator,
        )
        ensemble = module.ensemble.cpu()
        ensemble.load_state_dict(module.past.best_weights)
        trust(ensemble, parts, scale)
        fit_spreads(ensemble, Tensors.of(parts.train, scale), absences(names), Lessons.of(parts).teaches)
        everyone = ModelBundle(ensemble, scale, Calibration.unknown(), metadata)
        rehearsed = []
        for one in rehearsals(everyone, parts, beginning):
            if observer.should_stop():
                raise Stopped("training was stopped")
            rehearsed.append(one)
        return _judge(answering(everyone, parts, beginning), parts, rehearsed, epochs, observer=observer)


def _judge(
    bundle: ModelBundle,
    parts: Split,
    rehearsed: Sequence[Rehearsal],
    epochs: list[Epoch],
    *,
    observer: Observer,
) -> Fitted:
    """Score on the test windows with a calibration that has not seen them; then calibrate on all that was held out."""
    kind: Kind = "time" if parts.by_time else "cells"
    test = bundle.judge(parts.test)
    unseen = _held_out(bundle, parts, rehearsed, _thinned(parts.train, CALIBRATING), parts.validation)
    rehearsal = calibrate([judged.scored() for judged in unseen], "cells" if rehearsed else "time")
    best = min(epochs, key=lambda epoch: epoch.val_loss)
    metrics = {
        "train_loss": best.train_loss,
        "val_loss": best.val_loss,
        "best_epoch": float(best.epoch),
        **scores(test, rehearsal, bundle.scale.soh_mean),
    }
    observer.log(
        "info",
        f"Held out: SoH off by {metrics['soh_mae']:.4f} on average (the training mean: "
        f"{metrics['soh_mae_training_mean']:.4f}), {metrics['test_accuracy']:.0%} of the cycles within 0.02; "
        f"weights of epoch {best.epoch}",
    )
    alike = parts.by_time or bool(rehearsed)  # else validation is other life of the one cell that taught
    calibration = calibrate(
        [*(judged.scored() for judged in (unseen if alike else [])), test.scored()],
        kind,
        {absent: _lacking(bundle, parts, rehearsed, absent, alike=alike) for absent in absences(bundle.feature_names)},
    )
    final = ModelBundle(bundle.ensemble, bundle.scale, calibration, {**bundle.metadata, "metrics": metrics})
    return Fitted(final, metrics, epochs, parts, test, rehearsal)


def _held_out(
    bundle: ModelBundle, parts: Split, rehearsed: Sequence[Rehearsal], train: Windows, validation: Windows
) -> list[Judged]:
    """What is said of the teaching cells by rehearsals that do not know them; where there are none, of validation."""
    if rehearsed:
        return list(held_out(rehearsed, train))
    judged = bundle.judge(validation)
    return [judged.without_rul() if parts.by_time else judged]  # one battery's RUL is a trend told from its start


def _lacking(
    bundle: ModelBundle, parts: Split, rehearsed: Sequence[Rehearsal], absent: frozenset[int], *, alike: bool
) -> list[Scored]:
    """Scores of what was held out, of which some columns were taken away."""
    test, train, validation = (
        without_columns(_thinned(windows, REHEARSED), absent) for windows in (parts.test, parts.train, parts.validation)
    )
    unseen = _held_out(bundle, parts, rehearsed, train, validation) if alike else []
    return [*(judged.scored() for judged in unseen), bundle.judge(test).scored()]


def _thinned(windows: Windows, most: int) -> Windows:
    """Every so many windows, enough to take quantiles of."""
    if len(windows) <= most:
        return windows
    return windows[np.linspace(0, len(windows) - 1, most).round().astype(np.int64)]


def _module(
    algorithm: str,
    hyperparameters: Hyperparameters,
    parts: Split,
    names: Sequence[str],
    *,
    scale: TargetScale,
    end_of_life: float,
) -> tuple[HealthModule, Beginning]:
    """Ensemble with its scaler and regressions fitted, ready to learn; and what the regressions were fitted to."""
    training, validation = Tensors.of(parts.train, scale), Tensors.of(parts.validation, scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hyperparameters.seed)
        ensemble = Ensemble.of(algorithm, hyperparameters, len(names), len(parts.withheld))
    floors = [SCALE_FLOORS.get(name, 0.0) for name in names]
    ensemble.scaler.fit(training.x[:, -1], training.cycle_index[:, -1], floors)
    both = (training, validation)
    beginning = start(ensemble, parts, both, scale, end_of_life=end_of_life, seed=hyperparameters.seed)
    module = HealthModule(
        ensemble,
        train=training,
        validation=validation,
        hyperparameters=hyperparameters,
        feature_names=names,
        lessons=Lessons.of(parts),
    )
    return module, beginning


def _targets(windows: Windows) -> tuple[Any, Any, Any]:
    return windows.soh, windows.rul, windows.rul_lower_bound


def _describe(parts: Split, observer: Observer) -> None:
    for reason in parts.left_out:
        observer.log("warning", f"Left out {reason}")
    how = "in time, since one battery cannot hold out another" if parts.by_time else "by battery"
    observer.log(
        "info",
        f"Split {how}: {len(parts.train)} windows of {', '.join(parts.train_cells)} teach, {len(parts.validation)} of "
        f"{', '.join(parts.validation_cells)} validate, {len(parts.test)} of {', '.join(parts.test_cells)} test; "
        f"{parts.length} cycles a window",
    )


def _provenance(parts: Split, histories: Sequence[History]) -> dict[str, Any]:
    taught = [history for history in histories if history.cell in parts.train_cells]
    validated = [history for history in histories if history.cell in parts.validation_cells]
    return {
        "train_cells": list(parts.train_cells),
        "validation_cells": list(parts.validation_cells),
        "test_cells": list(parts.test_cells),
        "train_fingerprints": [fingerprint(history) for history in taught],
        "validation_fingerprints": [fingerprint(history) for history in validated],
        "by_time": parts.by_time,
        "chemistries": sorted({history.chemistry for history in taught if history.chemistry}),
        "train_windows": len(parts.train),
        "soh_range": [float(np.nanmin(parts.train.soh)), float(np.nanmax(parts.train.soh))],
        "rul_known": bool(np.isfinite(parts.train.rul).any()),
    }


def _run_fingerprint(algorithm: str, hyperparameters: Hyperparameters, parts: Split) -> str:
    """Name of this very run: resuming another one's checkpoint would mix two models."""
    digest = hashlib.sha256(json.dumps([algorithm, hyperparameters.model_dump()]).encode())
    for part in (parts.train, parts.validation):
        for values in (part.x, part.mask, part.cycle_index, *_targets(part)):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
