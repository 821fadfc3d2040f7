"""How long ``battery up`` takes until every part works: on an empty home, and on one that was up before.

python benchmarks/warm_start.py [--times 3]
"""

import argparse
import sys
import time
from datetime import UTC, datetime

import requests
from measuring import answers, environment, free_ports, running, seconds_until, show, temporary_home


def worker_since(prefect: str, since: float) -> bool:
    """Whether a worker of the pool has reported after ``since``."""
    try:
        workers = requests.post(f"{prefect}/work_pools/battery/workers/filter", json={}, timeout=2)
    except requests.RequestException:
        return False
    start = datetime.fromtimestamp(since, UTC)
    return workers.ok and any(datetime.fromisoformat(w["last_heartbeat_time"]) >= start for w in workers.json())


def main() -> None:
    """Start and stop the stack on one home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="warm starts")
    times = parser.parse_args().times
    rows = []
    with temporary_home() as home:
        api, mlflow, prefect, serving = free_ports(4)
        ports = {"api_port": api, "mlflow_port": mlflow, "prefect_port": prefect, "serving_port": serving}
        loopback = "http://127.0.0.1"
        parts = {
            "api": f"{loopback}:{api}/api/v1/health",
            "mlflow": f"{loopback}:{mlflow}/health",
            "prefect": f"{loopback}:{prefect}/api/health",
            "serving": f"{loopback}:{serving}/readyz",
        }
        for number in range(times + 1):
            log, since, began = home / "up.log", time.time(), time.perf_counter()
            after: dict[str, float] = {}

            def healthy(since: float = since, began: float = began, after: dict[str, float] = after) -> bool:
                for name, url in parts.items():
                    if name not in after and answers(url):
                        after[name] = time.perf_counter() - began
                if "prefect" in after and "worker" not in after and worker_since(f"{loopback}:{prefect}/api", since):
                    after["worker"] = time.perf_counter() - began
                return len(after) == len(parts) + 1

            with running([sys.executable, "-m", "launch", "up"], environment(home, **ports), log) as process:
                total = seconds_until(healthy, process, log, within=300)
                stopping = time.perf_counter()
            stop = time.perf_counter() - stopping
            name = "first start" if number == 0 else f"warm start {number}"
            rows.append([name, total, *(after[part] for part in (*parts, "worker")), stop])
    show("battery up: seconds until healthy", ("start", "all", *parts, "worker", "Ctrl-C to end"), rows)


if __name__ == "__main__":
    main()
