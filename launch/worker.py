"""Prefect's process worker, and beside it a thread that looks after runs and training jobs whose process died.

``python -m launch.worker``. Prefect is told of runs that ended without a word; where a training job is nobody's any
more, the flow ``reconcile`` is asked for, which resumes it.
"""

import runpy
import sys
import threading
import time
from datetime import timedelta

import httpx
from sqlalchemy.exc import SQLAlchemyError

from store.deployments import RECONCILE, WORK_POOL
from store.settings import Settings, get_settings

LOOK_EVERY_S = 10.0
ASK_EVERY_S = 30.0  # what was asked for needs some time
ANSWER_WITHIN_S = 10
AT_ONCE = timedelta(0)


class Rounds:
    """Looks again and again at what died."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.asked_at = float("-inf")
        self.said = ""

    def run(self) -> None:
        """Look until this process ends. What cannot be asked now is asked the next time."""
        alone = self.settings.prefect_url is None  # then no other worker has taken what is pending at this start
        while True:
            try:
                self.look(AT_ONCE if alone else None)
                alone = False
            except (httpx.HTTPError, SQLAlchemyError) as error:
                self.say(f"not looked after jobs: {error or type(error).__name__}")
            time.sleep(LOOK_EVERY_S)

    def look(self, pending_for: timedelta | None) -> None:
        """Close lost runs; ask for ``reconcile`` where there is something for it to do."""
        from prefect.client.orchestration import get_client

        from flows import lost_runs, reconciling

        with get_client(sync_client=True) as prefect:
            lost = lost_runs.close_lost(prefect, lost_runs.PENDING_FOR if pending_for is None else pending_for)
            if lost:
                self.say(f"closed runs whose process is gone: {', '.join(lost)}")
            needed = reconciling.is_needed(prefect)
        if needed and time.monotonic() - self.asked_at >= ASK_EVERY_S:
            ask_for_reconciliation(self.settings)
            self.asked_at = time.monotonic()

    def say(self, message: str) -> None:
        """One line of the log, once."""
        if message != self.said:
            print(message, file=sys.stderr, flush=True)
        self.said = message


def ask_for_reconciliation(settings: Settings) -> None:
    """One run of the flow ``reconcile``. Raises httpx.HTTPError."""
    with httpx.Client(base_url=settings.prefect, timeout=ANSWER_WITHIN_S, trust_env=False) as client:
        found = client.get(f"/deployments/name/{RECONCILE}").raise_for_status()
        client.post(f"/deployments/{found.json()['id']}/create_flow_run", json={}).raise_for_status()


def main() -> None:
    """Start looking, then be the worker."""
    import prefect.cli  # before the thread starts: two threads in one library's circular imports deadlock
    import prefect.client.orchestration
    import prefect.client.schemas.filters
    import prefect.states  # noqa: F401

    import flows.reconciling  # noqa: F401

    threading.Thread(target=Rounds(get_settings()).run, name="rounds", daemon=True).start()
    sys.argv = ["prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "battery"]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
