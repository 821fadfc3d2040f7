"""`battery benchmark`: our models beside simple ones by a published protocol; a table, or JSON, and a run in MLflow."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from launch.display import console, counted, errors
from store.settings import get_settings

METRICS = {
    "P1": ("soh_rmspe", "soh_mae", "rul_rmse", "coverage_90", "ece"),
    "P2": ("soh_mape", "soh_mae", "coverage_90", "ece"),
    "P4": ("soh_mae", "soh_rmse", "rul_rmse", "coverage_90", "ece"),
    "P5": ("coverage_90", "ece", "soh_mae"),
}
EXPERIMENT = "battery benchmarks"


def run_benchmark(protocol: str, data: Path, seeds: int, *, as_json: bool) -> int:
    """Train and judge; give the exit status. What happens meanwhile goes to standard error."""
    from models.protocols import running, scoring, tasks

    protocol = protocol.upper()

    def log(message: str) -> None:
        errors.print(message, markup=False, highlight=False)

    try:
        found = tasks.tasks(protocol, data, log)
    except (ValueError, tasks.NoCells) as error:
        log(f"battery: {error}")
        return 2
    result = scoring.summary(protocol, list(running.run(found, seeds, log)))
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        for table in tables(protocol, result):
            console.print(table)
    log(log_run(data, result))
    return 0


def tables(protocol: str, result: Mapping[str, Any]) -> list[Table]:
    """All models beside each other, then a table a cell."""
    models: Mapping[str, Any] = result["models"]
    names = METRICS[protocol]
    whole = Table(
        "model", *names, "worst cell", title=f"{protocol}, {counted(result['seeds'], 'seed')}: mean ± std over seeds"
    )
    for model, scores in models.items():
        shown = [_number(scores.get(name), scores.get(f"{name}_std")) for name in names]
        whole.add_row(model, *shown, f"{_number(scores['worst_cell'])} ({escape(scores['worst_cell_name'])})")
    made = [whole]
    headline = names[0]
    groups = {"task": "tasks", "cell": "per_cell"}
    for title, key in groups.items():
        rows = list(dict.fromkeys(row for scores in models.values() for row in scores.get(key, {})))
        if rows:
            table = Table(title, *models, title=f"{headline} by {title}")
            for row in rows:
                found = [scores.get(key, {}).get(row, {}) for scores in models.values()]
                table.add_row(escape(row), *(_number(one.get(headline)) for one in found))
            made.append(table)
    return made


def _number(value: float | None, spread: float | None = None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    digits = 1 if abs(value) >= 10 else 4
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")


def log_run(data: Path, result: Mapping[str, Any]) -> str:
    """Log a run to the MLflow server if it answers, else to its database; say where."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from flows.publishing import mlflow_answers
    from models.protocols.logging import log_result

    settings = get_settings()
    uri, where = settings.mlflow, "MLflow"
    if not mlflow_answers():
        settings.var.mkdir(parents=True, exist_ok=True)
        uri, where = f"sqlite:///{settings.var / 'mlflow.db'}", "MLflow's database, whose server does not run"
    run_id = log_result(uri, EXPERIMENT, data, result)
    return f"Logged to {where}: run {run_id} of {EXPERIMENT!r}"
