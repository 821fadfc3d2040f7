"""A protocol's result as a run of MLflow."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import runs


def log_result(tracking_uri: str, experiment: str, data: Path, result: Mapping[str, Any]) -> str:
    """Log scores as metrics `model/score`; where a server takes artifacts, the whole result too. Gives the run's id."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client, protocol = MlflowClient(tracking_uri), str(result["protocol"])
    # Beside no server as it would: artifacts through it, once it runs.
    artifacts = None if tracking_uri.startswith("http") else "mlflow-artifacts:/benchmarks"
    number = runs.experiment(client, experiment, artifacts)
    tags = {"battery.protocol": protocol, "battery.data": data.name}
    run = str(client.create_run(number, run_name=protocol, tags=tags).info.run_id)
    now = int(time.time() * 1000)
    metrics = [
        Metric(f"{model.replace(' ', '_')}/{name}", float(value), now, 0)
        for model, scores in result["models"].items()
        for name, value in scores.items()
        if isinstance(value, float)
    ]
    client.log_batch(run, metrics=metrics)
    if tracking_uri.startswith("http"):
        client.log_text(run, json.dumps(result, indent=1), f"{protocol}.json")
    client.set_terminated(run, "FINISHED")
    return run
