"""Cells to learn from, and an observer that remembers."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batteries import labels
from batteries.cycles import discharge_capacities_ah
from batteries.features import cycle_features
from batteries.recordings import Recording
from batteries.samples import synthetic_cell
from batteries.windows import History

END_OF_LIFE = 0.8
SHARED_DATA = Path(os.environ.get("BATTERY_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def history_of(recording: Recording, name: str, nominal_ah: float) -> History:
    soh = labels.soh(discharge_capacities_ah(recording, nominal_ah), nominal_ah)
    index = np.array([cycle.index for cycle in recording.cycles])
    features = np.stack([cycle_features(cycle, nominal_ah) for cycle in recording.cycles])
    return History(name, index, features, soh, labels.rul(soh, index, END_OF_LIFE), nominal_ah, "LFP")


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., History]:
    """Cell number `seed`, made by the sampler, through the product's own features and labels."""
    made: dict[tuple[int, int], History] = {}

    def make(seed: int, cycles: int = 150) -> History:
        if (seed, cycles) not in made:
            recording = synthetic_cell(cycles=cycles, nominal_capacity_ah=1.1, seed=seed)
            made[seed, cycles] = history_of(recording, f"synthetic {seed}", 1.1)
        return made[seed, cycles]

    return make


@pytest.fixture(scope="session")
def nasa() -> list[History]:
    """B0005, B0006, B0007 from their files."""
    from batteries.matfiles.reader import read

    folder = SHARED_DATA / "nasa"
    if not folder.is_dir():
        pytest.skip(f"the real cells are not at {folder}; set BATTERY_SHARED_DATA")
    return [history_of(read(folder / f"{cell}.mat"), cell, 2.0) for cell in ("B0005", "B0006", "B0007")]


@pytest.fixture(scope="session")
def nasa_young() -> History:
    """B0025, whose record ends long before its life."""
    from batteries.matfiles.reader import read

    path = SHARED_DATA / "nasa" / "B0025.mat"
    if not path.is_file():
        pytest.skip(f"the real cells are not at {path.parent}; set BATTERY_SHARED_DATA")
    return history_of(read(path), "B0025", 2.0)


class Recorder:
    """An observer that remembers, and asks to stop after so many batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.lines: list[tuple[str, str]] = []
        self.epochs = []
        self.batches = 0
        self.stop_after = stop_after

    def log(self, level, message):
        self.lines.append((level, message))

    def epoch(self, epoch):
        self.epochs.append(epoch)

    def should_stop(self):
        self.batches += 1
        return self.stop_after is not None and self.batches > self.stop_after


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder
