"""Cells in the forms of the protocols, made up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def wen(seed: int, cycles: int = 60) -> pd.DataFrame:
    """SoH falls in a line from about 1 to 0.8 at the record's end; one feature follows it, the other is noise."""
    rng = np.random.default_rng(seed)
    soh = np.linspace(1.0 - 1e-4 * seed, 0.8, cycles)
    return pd.DataFrame(
        {
            "Cycle": np.arange(1, cycles + 1),
            "follows": 3 * soh + 0.001 * rng.normal(size=cycles),
            "noise": rng.normal(size=cycles),
            "RUL": np.arange(cycles, 0, -1) - 1,
            "SOH": soh,
        }
    )


def pinn4soh(seed: int, cycles: int = 50) -> pd.DataFrame:
    """Capacity falls from 2.0 to 1.6 Ah, unevenly from cell to cell."""
    rng = np.random.default_rng(seed)
    capacity = 2.0 - 0.4 * np.linspace(0, 1, cycles) ** rng.uniform(0.8, 1.3)
    return pd.DataFrame(
        {
            "voltage mean": capacity + 0.002 * rng.normal(size=cycles),
            "CC Q": capacity**2 + 0.002 * rng.normal(size=cycles),
            "capacity": capacity,
        }
    )


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """A folder with these tables as CSV files."""

    def write(tables: dict[str, pd.DataFrame]) -> Path:
        for name, table in tables.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(path, index=False)
        return tmp_path / "data"

    return write


@pytest.fixture
def cells() -> dict[str, Callable[..., pd.DataFrame]]:
    return {"wen": wen, "pinn4soh": pinn4soh}
