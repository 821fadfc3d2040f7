"""How long ``battery up`` takes until every part works: on an empty home, and on one that was up before.

python benchmarks/warm_start.py [--times 3]
"""

import argparse
import sys
import time

from measuring import environment, free_ports, running, seconds_until, show, temporary_home

from launch import health
from launch.parts import embedded_parts
from store.settings import Settings


def main() -> None:
    """Start and stop the stack on one home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="warm starts")
    times = parser.parse_args().times
    rows = []
    with temporary_home() as home:
        api, mlflow, prefect, serving = free_ports(4)
        ports = {"api_port": api, "mlflow_port": mlflow, "prefect_port": prefect, "serving_port": serving}
        settings = Settings.model_validate({"home": home, **ports})
        parts = embedded_parts(settings)
        for number in range(times + 1):
            log, since, began = home / "up.log", time.time(), time.perf_counter()
            after: dict[str, float] = {}

            def healthy(since: float = since, began: float = began, after: dict[str, float] = after) -> bool:
                with health.client() as http:
                    for part in parts:
                        if part.name not in after and health.works(http, settings, part, since):
                            after[part.name] = time.perf_counter() - began
                return len(after) == len(parts)

            with running([sys.executable, "-m", "launch", "up"], environment(home, **ports), log) as process:
                total = seconds_until(healthy, process, log, within=300)
                stopping = time.perf_counter()
            stop = time.perf_counter() - stopping
            name = "first start" if number == 0 else f"warm start {number}"
            rows.append([name, total, *(after[part.name] for part in parts), stop])
    show("battery up: seconds until healthy", ("start", "all", *(part.name for part in parts), "Ctrl-C to end"), rows)


if __name__ == "__main__":
    main()
