"""A protocol's run: every model of every seed on every task, our own through the same `fit` as a training job."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from batteries.windows import Windows, concatenate, windows_of
from models.calibration import Calibration
from models.hyperparameters import HYPERPARAMETERS, Hyperparameters
from models.metrics import Judged
from models.observer import Epoch, Level
from models.protocols.classical import CLASSICAL
from models.protocols.scoring import Answers
from models.protocols.tasks import END_OF_LIFE, Log, Task
from models.training import fit

Floats = NDArray[np.float64]
BATCHES = ((1000, 32), (10_000, 128))  # below so many training cycles, windows a batch; `LARGE` above
LARGE = 512
STEPS = 200  # of the optimiser, for each network: more did not lower the error on cells left out, see docs/accuracy.md
EPOCHS = (4, 30)
NETWORKS = 6
OURS = ("baseline", "bilstm", "deephpm")


class _Watching:
    """Passes warnings on."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def log(self, level: Level, message: str) -> None:
        if level == "warning":
            self._log(message)

    def epoch(self, epoch: Epoch) -> None:
        """Nothing to show."""

    def should_stop(self) -> bool:
        return False


def hyperparameters(algorithm: str, cycles: int, past: int, seed: int) -> Hyperparameters:
    """Give a job's hyperparameters for so many training cycles: about as many optimiser steps for many as for few.

    `past`: cycles that a model looks back over, if by default it looks back at all.
    """
    batch = next((size for below, size in BATCHES if cycles < below), LARGE)
    epochs = min(max(STEPS * batch // max(cycles, 1), EPOCHS[0]), EPOCHS[1])
    usual = HYPERPARAMETERS[algorithm]()
    window = past if usual.window > 1 else 1
    changed = {"epochs": epochs, "batch_size": batch, "learning_rate": 0.001, "ensemble_size": NETWORKS}
    return usual.model_copy(update={**changed, "window": window, "seed": seed})


def run(
    tasks: Sequence[Task],
    seeds: int,
    log: Log,
    models: Sequence[str] = (*CLASSICAL, *OURS),
    asked: Callable[[str, int, int, int], Hyperparameters] = hyperparameters,
) -> Iterator[Answers]:
    """Answers of each model, seed and held-out cell, as they come; `asked` gives a job's hyperparameters."""
    for task in tasks:
        train, test = _windows(task, judging=False), _windows(task, judging=True)
        teaching = sum(len(history) for history in task.histories if history.cell not in task.test_cells)
        if "dummy" in models:
            yield from _persistence(task, test, seeds)
        for model in models:
            for seed in range(seeds):
                log(f"{task.name}: {model}, seed {seed}")
                if model in CLASSICAL:
                    yield from _classical(task, model, train, test, seed)
                else:
                    yield from _ours(task, asked(model, teaching, task.past, seed), model, log)


def _ours(task: Task, hyperparameters: Hyperparameters, algorithm: str, log: Log) -> Iterator[Answers]:
    fitted = fit(
        algorithm,
        hyperparameters,
        task.histories,
        observer=_Watching(log),
        feature_names=task.feature_names,
        feature_version=task.feature_version,
        end_of_life=END_OF_LIFE,
        test_cells=task.test_cells,
    )
    told = fitted.judged if fitted.bundle.metadata["rul_known"] else fitted.judged.without_rul()
    yield from _by_cell(task, algorithm, hyperparameters.seed, told, calibration=fitted.rehearsal)


def _classical(task: Task, model: str, train: Windows, test: Windows, seed: int) -> Iterator[Answers]:
    predict = CLASSICAL[model]
    soh = predict(train, test, lambda windows: windows.soh, seed)
    known = np.isfinite(train.rul).any()
    rul = (
        np.maximum(predict(train, test, lambda windows: windows.rul, seed), 0) if known else np.full(len(test), np.nan)
    )
    yield from _by_cell(task, model, seed, _plain(test, soh, rul))


def _persistence(task: Task, test: Windows, seeds: int) -> Iterator[Answers]:
    """The SoH last measured before the cycle asked about: what our models are not told. Nothing is said of RUL."""
    last = np.full(len(test), np.nan)
    for number in np.unique(test.cell):
        rows = np.flatnonzero(test.cell == number)
        known = np.where(np.isfinite(test.soh[rows]), rows, -1)
        before = np.concatenate([[-1], np.maximum.accumulate(known)[:-1]])
        last[rows] = np.where(before >= 0, test.soh[before], np.nan)
    for seed in range(seeds):
        yield from _by_cell(task, "persistence", seed, _plain(test, last, np.full(len(test), np.nan)))


def _plain(windows: Windows, soh: Floats, rul: Floats) -> Judged:
    """Estimates without a spread."""
    nothing = np.full(len(windows), np.nan)
    return Judged.of(windows, soh, nothing, rul, nothing)


def _by_cell(
    task: Task, model: str, seed: int, told: Judged, *, calibration: Calibration | None = None
) -> Iterator[Answers]:
    for number in np.unique(told.cell):
        rows = told.cell == number
        nothing = np.full(int(rows.sum()), np.nan)
        sigma = told.soh_sigma[rows]
        yield Answers(
            task=task.name,
            cell=task.histories[int(number)].cell,
            model=model,
            seed=seed,
            soh=told.soh[rows],
            true_soh=told.true_soh[rows],
            rul=told.rul[rows],
            true_rul=told.true_rul[rows],
            radius=nothing if calibration is None else calibration.soh_radius(sigma),
            confidence=nothing if calibration is None else calibration.confidence(sigma),
        )


def _windows(task: Task, *, judging: bool) -> Windows:
    numbers = [i for i, history in enumerate(task.histories) if (history.cell in task.test_cells) is judging]
    return concatenate([windows_of(task.histories[number], number, task.past) for number in numbers])
