"""Puts ``prefect.yaml`` into Prefect: the work pool, its queues and their limits, the deployments."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx

from launch.failures import DeploymentFailed
from launch.parts import WORK_POOL, python
from store.settings import CHECKOUT, Settings

DEPLOY_WITHIN_S = 120


def queue_limits(settings: Settings) -> dict[str, int]:
    """How many runs of each queue there may be at once."""
    return {"training": settings.max_training_jobs, "data": 1}


def put_pool(client: httpx.Client) -> None:
    """Make the work pool where it is missing; its worker fills in the rest."""
    made = client.post("/work_pools/", json={"name": WORK_POOL, "type": "process"})
    if made.status_code != httpx.codes.CONFLICT:
        made.raise_for_status()


def put_queue(client: httpx.Client, name: str, limit: int) -> None:
    """Make a queue of the pool, or set its limit."""
    queues = f"/work_pools/{WORK_POOL}/queues"
    made = client.post(queues, json={"name": name, "concurrency_limit": limit})
    if made.status_code == httpx.codes.CONFLICT:
        made = client.patch(f"{queues}/{name}", json={"concurrency_limit": limit})
    made.raise_for_status()


def fingerprint(checkout: Path, url: str) -> str:
    """Changes when the deployments may have: their file, the flows, where Prefect is."""
    digest = hashlib.sha256(f"{url} {checkout}".encode())
    for file in [checkout / "prefect.yaml", *sorted((checkout / "flows").rglob("*.py"))]:
        digest.update(str(file.relative_to(checkout)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def count_deployments(client: httpx.Client) -> int:
    """How many deployments Prefect has."""
    return int(client.post("/deployments/count", json={}).raise_for_status().json())


def deploy(environment: Mapping[str, str]) -> None:
    """``prefect deploy --all``. Raises DeploymentFailed."""
    command = python("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml")
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEPLOY_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip().splitlines()
        raise DeploymentFailed("prefect deploy failed: " + " / ".join(said[-4:]))


def put_deployments(settings: Settings, environment: Mapping[str, str]) -> None:
    """Bring Prefect to what the settings and ``prefect.yaml`` say. Raises DeploymentFailed or httpx.HTTPError."""
    with httpx.Client(base_url=settings.prefect, timeout=30, trust_env=False, follow_redirects=True) as client:
        put_pool(client)
        for name, limit in queue_limits(settings).items():
            put_queue(client, name, limit)
        if not (CHECKOUT / "prefect.yaml").exists():
            raise DeploymentFailed(f"{CHECKOUT / 'prefect.yaml'} is missing")
        stamp = settings.var / "prefect" / "deployed"
        current = fingerprint(CHECKOUT, settings.prefect)
        if stamp.exists() and stamp.read_text() == current and count_deployments(client) > 0:
            return
        deploy(environment)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(current)
