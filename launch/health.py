"""Does a part work: asked the way its users ask it."""

from datetime import UTC, datetime

import httpx

from launch.parts import Part
from store.deployments import WORK_POOL
from store.settings import Settings

ASK_S = 2.0


def client() -> httpx.Client:
    """For short questions to parts on this machine, never through a proxy."""
    return httpx.Client(timeout=ASK_S, trust_env=False)


def answers(http: httpx.Client, url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return http.get(url).is_success
    except httpx.HTTPError:
        return False


def worker_reported(http: httpx.Client, settings: Settings, since: float) -> bool:
    """Whether a worker of the pool reported to Prefect after ``since`` (seconds since 1970)."""
    try:
        found = http.post(f"{settings.prefect}/work_pools/{WORK_POOL}/workers/filter", json={})
    except httpx.HTTPError:
        return False
    started = datetime.fromtimestamp(since, UTC)
    return found.is_success and any(
        worker["status"] == "ONLINE" and datetime.fromisoformat(worker["last_heartbeat_time"]) >= started
        for worker in found.json()
        if worker["last_heartbeat_time"]
    )


def works(http: httpx.Client, settings: Settings, part: Part, since: float) -> bool:
    """Whether a part that was started at ``since`` works."""
    if part.health is None:
        return worker_reported(http, settings, since)
    return answers(http, part.health)
