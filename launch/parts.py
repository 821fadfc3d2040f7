"""The parts of the embedded stack: how each is started, asked for its health, and stopped."""

import sys
from dataclasses import dataclass

from store.settings import Settings

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Part:
    """One supervised process."""

    name: str
    title: str
    command: tuple[str, ...]
    order: int  # started from the lowest, stopped from the highest
    stop_s: int  # time to end by itself before it is killed
    health: str | None = None  # URL that answers 200 once it works
    page: str | None = None  # what a person opens
    port: int | None = None
    port_setting: str | None = None
    host: str = LOOPBACK


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this interpreter."""
    return (sys.executable, *arguments)


def prefect_server(settings: Settings) -> Part:
    """Prefect's server: schedules, queues, states of runs."""
    port = settings.prefect_port
    return Part(
        name="prefect",
        title="Prefect",
        command=python("-m", "launch.prefect_server", "--host", LOOPBACK, "--port", str(port)),
        order=10,
        stop_s=10,
        health=f"http://{LOOPBACK}:{port}/api/health",
        page=f"http://{LOOPBACK}:{port}",
        port=port,
        port_setting="BATTERY_PREFECT_PORT",
    )


def mlflow_server(settings: Settings) -> Part:
    """MLflow's server: runs, artifacts, registry."""
    port, var = settings.mlflow_port, settings.var
    artifacts = settings.mlflow_artifacts or str(var / "mlflow")
    command = python("-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1")
    command += ("--backend-store-uri", f"sqlite:///{var / 'mlflow.db'}", "--artifacts-destination", artifacts)
    command += ("--allowed-hosts", f"localhost:{port},{LOOPBACK}:{port}")
    return Part(
        name="mlflow",
        title="MLflow",
        command=command,
        order=20,
        stop_s=8,
        health=f"http://{LOOPBACK}:{port}/health",
        page=f"http://{LOOPBACK}:{port}",
        port=port,
        port_setting="BATTERY_MLFLOW_PORT",
    )


def bentoml_service(settings: Settings) -> Part:
    """BentoML: the models that answer predictions."""
    port = settings.serving_port
    service = "serving.service:PredictionService"
    return Part(
        name="serving",
        title="BentoML",
        command=python("-m", "bentoml", "serve", service, "--host", LOOPBACK, "--port", str(port)),
        order=30,
        stop_s=10,
        health=f"http://{LOOPBACK}:{port}/readyz",
        page=f"http://{LOOPBACK}:{port}",
        port=port,
        port_setting="BATTERY_SERVING_PORT",
    )


def api(settings: Settings) -> Part:
    """The API."""
    local = LOOPBACK if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    root = f"http://{f'[{local}]' if ':' in local else local}:{settings.api_port}"
    return Part(
        name="api",
        title="API",
        command=python("-m", "api"),
        order=40,
        stop_s=8,
        health=f"{root}/api/v1/health",
        page=root,
        port=settings.api_port,
        port_setting="BATTERY_API_PORT",
        host=settings.host,
    )


def worker() -> Part:
    """Prefect's process worker: runs the deployments of ``prefect.yaml``."""
    return Part(name="worker", title="Worker", command=python("-m", "launch.worker"), order=50, stop_s=20)


def embedded_parts(settings: Settings) -> list[Part]:
    """The parts that run here: those whose URL setting points elsewhere are left out."""
    parts = []
    if settings.prefect_url is None:
        parts.append(prefect_server(settings))
    if settings.mlflow_url is None:
        parts.append(mlflow_server(settings))
    if settings.serving_url is None:
        parts.append(bentoml_service(settings))
    return [*parts, api(settings), worker()]
