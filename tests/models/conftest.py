"""Cells to learn from, and an MLflow server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
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


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on a free port, as the embedded stack runs it; its base URL."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(  # its own group: it starts workers
            command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            assert server.poll() is None, (folder / "log").read_text()
            try:
                if httpx.get(f"{url}/health", timeout=2).is_success:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)
