"""From ``POST /training-jobs`` to the first epoch's message, beside what importing the libraries alone takes.

``python benchmarks/first_epoch.py [--jobs N]`` starts a stack of its own, or uses the one that the environment's
``BATTERY_API_PORT``, ``BATTERY_ADMIN_EMAIL`` and ``BATTERY_ADMIN_PASSWORD`` speak of when it answers.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from measuring import (
    CHECKOUT,
    answers,
    environment,
    free_ports,
    running,
    seconds_until,
    show,
    signed_in,
    temporary_home,
    upload,
)
from websockets.sync.client import connect

from batteries.samples import synthetic_cell, write_mat
from store.settings import get_settings

IMPORTS = "import torch, lightning.pytorch, mlflow, prefect"
START_WITHIN_S = 240
EPOCH_WITHIN_S = 180


@contextlib.contextmanager
def api() -> Iterator[tuple[str, requests.Session]]:
    """Root of a stack's API and a session on it: the running one's, else of one made for this."""
    settings = get_settings()
    root = f"http://127.0.0.1:{settings.api_port}/api/v1"
    if answers(f"{root}/health") and settings.admin_email and settings.admin_password:
        session = requests.Session()
        login = {"username": settings.admin_email, "password": settings.admin_password.get_secret_value()}
        token = session.post(f"{root}/auth/token", data=login, timeout=30).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        yield root, session
        return
    with temporary_home() as home:
        names = ("api_port", "mlflow_port", "prefect_port", "serving_port")
        ports = dict(zip(names, free_ports(4), strict=True))
        log = home / "up.log"
        with running([sys.executable, "-m", "launch", "up"], environment(home, **ports), log) as up:
            seconds_until(lambda: b"Everything works" in log.read_bytes(), up, log, within=START_WITHIN_S)
            root = f"http://127.0.0.1:{ports['api_port']}/api/v1"
            yield root, signed_in(root)


def add_cell(root: str, session: requests.Session, seed: int) -> int:
    """Id of a new synthetic cell."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"cell{seed}.mat")
        write_mat(synthetic_cell(cycles=80, seed=seed), path)
        return int(upload(session, root, path, nominal_capacity=1.1)["id"])


def first_epoch(root: str, session: requests.Session, battery_ids: list[int]) -> float:
    """Seconds until a follower of a new job hears of its first epoch; returns once the job is over."""
    asked = {"algorithm": "bilstm", "battery_ids": battery_ids, "hyperparams": {"epochs": 2}}
    began = time.perf_counter()
    answer = session.post(f"{root}/training-jobs", json=asked, timeout=30)
    answer.raise_for_status()
    address = f"{root.replace('http', 'ws', 1)}/training-jobs/{answer.json()['id']}/ws"
    heard = None
    with connect(address, additional_headers={"Authorization": session.headers["Authorization"]}) as socket:
        while True:
            message = json.loads(socket.recv(timeout=EPOCH_WITHIN_S))
            if heard is None and message["type"] == "progress" and message["current_epoch"] >= 1:
                heard = time.perf_counter() - began
            if message["type"] == "error":
                sys.exit(f"the job ended: {message['error_message']}")
            if message["type"] == "complete":
                return heard or float("nan")


def importing() -> float:
    """Seconds that a new interpreter takes to import the libraries."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=CHECKOUT)
    return time.perf_counter() - began


def main() -> None:
    """Measure both in turn, so that other load weighs on both, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3)
    count = parser.parse_args().jobs
    importing()  # warms the disk's cache
    imports, epochs = [], []
    with api() as (root, session):
        for number in range(count):
            imports.append(importing())
            battery_ids = [add_cell(root, session, seed=10 * number + seed) for seed in range(2)]
            epochs.append(first_epoch(root, session, battery_ids))
    rows = [
        (f"job {number + 1}", taken, imported, taken / imported, taken / (1.5 * imported + 3))
        for number, (taken, imported) in enumerate(zip(epochs, imports, strict=True))
    ]
    taken, imported = statistics.median(epochs), statistics.median(imports)
    rows.append(("median", taken, imported, taken / imported, taken / (1.5 * imported + 3)))
    columns = ("", "first epoch s", "imports alone s", "ratio", "of 1.5 x imports + 3 s")
    show("POST /training-jobs to the first epoch's message", columns, rows)


if __name__ == "__main__":
    main()
