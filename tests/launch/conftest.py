"""A home of its own for commands that need no running stack."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path, free_ports) -> dict[str, str]:
    """An empty home and free ports."""
    api, mlflow, prefect, serving = free_ports(4)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BATTERY_", "PYTEST_"))}
    return inherited | {
        "BATTERY_HOME": str(tmp_path / "home"),
        "BATTERY_API_PORT": str(api),
        "BATTERY_MLFLOW_PORT": str(mlflow),
        "BATTERY_PREFECT_PORT": str(prefect),
        "BATTERY_SERVING_PORT": str(serving),
    }


@pytest.fixture
def battery(environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """One command of the CLI in that home: ``battery("status")``."""

    def run(*arguments: str, stdin: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "launch", *arguments],
            env=environment | settings,
            cwd=CHECKOUT.parent,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
