"""Puts ``prefect.yaml`` into Prefect: the work pool, its queues and their limits, the deployments."""

import hashlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from launch.failures import DeploymentFailed
from launch.parts import python
from store.deployments import WORK_POOL
from store.files import private_folder
from store.settings import CHECKOUT, Settings

DEPLOY_WITHIN_S = 120
BUSY_WITHIN_S = 60
BUSY = {429, 502, 503, 504}
PAUSE_S = 0.5


def queue_limits(settings: Settings) -> dict[str, int]:
    """How many runs of each queue there may be at once."""
    return {"training": settings.max_training_jobs, "data": 1, "care": 1}


def persistent(client: httpx.Client, method: str, path: str, content: dict[str, Any]) -> httpx.Response:
    """Answer to a call that may be made twice.

    Asked again while Prefect is busy: at its first start its database is locked for seconds, and it answers 503.
    Raises httpx.HTTPError when it still is after `BUSY_WITHIN_S`.
    """
    deadline = time.monotonic() + BUSY_WITHIN_S
    while True:
        try:
            response = client.request(method, path, json=content)
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        else:
            if response.status_code not in BUSY or time.monotonic() > deadline:
                return response
        time.sleep(PAUSE_S)


def put_pool(client: httpx.Client) -> None:
    """Make the work pool where it is missing; its worker fills in the rest."""
    made = persistent(client, "POST", "/work_pools/", {"name": WORK_POOL, "type": "process"})
    if made.status_code != httpx.codes.CONFLICT:
        made.raise_for_status()


def put_queue(client: httpx.Client, name: str, limit: int) -> None:
    """Make a queue of the pool, or set its limit."""
    queues = f"/work_pools/{WORK_POOL}/queues"
    made = persistent(client, "POST", queues, {"name": name, "concurrency_limit": limit})
    if made.status_code == httpx.codes.CONFLICT:
        made = persistent(client, "PATCH", f"{queues}/{name}", {"concurrency_limit": limit})
    made.raise_for_status()


def fingerprint(checkout: Path, url: str) -> str:
    """Changes when the deployments may have: their file, the flows, where Prefect is."""
    digest = hashlib.sha256(f"{url} {checkout}".encode())
    for file in [checkout / "prefect.yaml", *sorted((checkout / "flows").rglob("*.py"))]:
        digest.update(str(file.relative_to(checkout)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def count_deployments(client: httpx.Client) -> int:
    """How many deployments Prefect has."""
    return int(persistent(client, "POST", "/deployments/count", {}).raise_for_status().json())


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
        private_folder(stamp.parent)
        stamp.write_text(current)
