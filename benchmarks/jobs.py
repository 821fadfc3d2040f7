"""``GET /training-jobs`` with 100 jobs and with 100 000: p95 of each page, and their ratio. The API alone runs.

``python benchmarks/jobs.py [--jobs 100000] [--calls 200]``.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta

import requests
from measuring import api_alone, at, show, signed_in, temporary_home
from sqlalchemy import insert

from store import migrations, session
from store.tables import Job, JobEvent, utc_now

FEW = 100
EVENTS = 20  # of every hundredth job
PAGES = {
    "newest 20": {},
    "newest 100": {"page_size": 100},
    "succeeded": {"status": "succeeded"},
    "running": {"status": "running"},
    "last page": {"page": 0},
}


def fill(count: int, have: int) -> None:
    """Rows up to ``count``, of which one of ten failed; three run."""
    began = utc_now() - timedelta(days=20)
    rows = [
        {
            "algorithm": "bilstm",
            "battery_ids": [1, 2, 3],
            "hyperparams": {"epochs": 100, "batch_size": 32, "learning_rate": 0.001, "hidden_size": 64},
            "status": "running" if number > count - 3 else "failed" if number % 10 == 0 else "succeeded",
            "total_epochs": 100,
            "last_seq": 0,
            "created_at": began + timedelta(seconds=number),
            "finished_at": None if number > count - 3 else began + timedelta(seconds=number + 60),
        }
        for number in range(have + 1, count + 1)
    ]
    events = [
        {"job_id": job, "seq": seq, "type": "log", "payload": {"level": "INFO", "message": "line"}}
        for job in range(have + 1, count + 1, 100)
        for seq in range(1, EVENTS + 1)
    ]
    with session.transaction() as opened:
        opened.execute(insert(Job), rows)
        opened.execute(insert(JobEvent), events)


def p95(http: requests.Session, url: str, query: dict[str, int], calls: int) -> float:
    """Of the answers' times, in milliseconds."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        http.get(url, params=query, timeout=60).raise_for_status()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.quantiles(taken, n=20)[-1]


def measure(http: requests.Session, url: str, jobs: int, calls: int) -> list[float]:
    """Each page's p95; the last page is the one of 20 with the oldest."""
    queries = [{**query, "page": -(-jobs // 20)} if "page" in query else query for query in PAGES.values()]
    return [min(p95(http, url, query, calls) for _ in range(3)) for query in queries]


def main() -> None:
    """Fill, ask, fill further, ask again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=200)
    asked = parser.parse_args()
    with temporary_home() as home, at(home):
        migrations.upgrade()
        with api_alone(home) as (root, _, _):
            http, url = signed_in(root), f"{root}/training-jobs"
            fill(FEW, 0)
            few = measure(http, url, FEW, asked.calls)
            fill(asked.jobs, FEW)
            many = measure(http, url, asked.jobs, asked.calls)
    show_rows(few, many, asked.jobs)


def show_rows(few: Sequence[float], many: Sequence[float], jobs: int) -> None:
    """A row a page."""
    rows = [(name, one, other, other / one) for name, one, other in zip(PAGES, few, many, strict=True)]
    show("GET /training-jobs, p95 in ms (best of 3)", ("page", f"{FEW} jobs", f"{jobs} jobs", "ratio"), rows)


if __name__ == "__main__":
    main()
