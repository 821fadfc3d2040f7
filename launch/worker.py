"""Prefect's process worker; before it starts, training jobs whose process died with an earlier one are looked after.

``python -m launch.worker``. The run of ``reconcile`` waits in its queue until the worker takes it, which this process
becomes.
"""

import os
import sys

import httpx

from launch.parts import WORK_POOL, python
from store.settings import Settings, get_settings

ANSWER_WITHIN_S = 10


def ask_for_reconciliation(settings: Settings) -> None:
    """One run of ``reconcile/reconcile``. Raises httpx.HTTPError."""
    with httpx.Client(base_url=settings.prefect, timeout=ANSWER_WITHIN_S, trust_env=False) as client:
        found = client.get("/deployments/name/reconcile/reconcile").raise_for_status()
        client.post(f"/deployments/{found.json()['id']}/create_flow_run", json={}).raise_for_status()


def main() -> None:
    """Ask, then become the worker."""
    try:
        ask_for_reconciliation(get_settings())
    except httpx.HTTPError as error:  # it is asked for every hour as well
        print(f"reconciliation not asked for: {error}", file=sys.stderr, flush=True)
    command = python("-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "battery")
    os.execv(command[0], command)  # noqa: S606 - the same arguments every time


if __name__ == "__main__":
    main()
