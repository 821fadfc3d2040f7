"""The environment that every process of the embedded stack gets."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from store.settings import CHECKOUT, Settings

# Whose process it is: what `up` may end when an earlier one was killed and left it behind.
MARK = "BATTERY_STACK"

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
SILENT = {  # no part reports home
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
}


def settings_file(path: Path) -> dict[str, str]:
    """``NAME=value`` lines; those that start with ``#`` are remarks."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def stack_environment(settings: Settings, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is inherited, and over it where each part keeps its things and finds the others."""
    var = settings.var
    direct = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), *LOOPBACK_NAMES]))
    return {
        **inherited,
        "NO_PROXY": direct,  # the parts speak to each other, whatever proxy leads out of the house
        "no_proxy": direct,
        **settings_file(CHECKOUT / "mlflow" / "server.env"),
        **SILENT,
        MARK: str(settings.home),
        "BATTERY_HOME": str(settings.home),
        "BATTERY_CHECKOUT": str(CHECKOUT),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "GIT_PYTHON_REFRESH": "quiet",  # MLflow warns at length on a machine without git
        "PREFECT_HOME": str(var / "prefect"),
        "PREFECT_API_URL": settings.prefect,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # a job starts within a second, not ten
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        # Nobody reads these, and their writes compete with those of the runs.
        "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
        "MLFLOW_TRACKING_URI": settings.mlflow,
        "BENTOML_HOME": str(var / "bentoml"),
    }
