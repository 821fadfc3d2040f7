"""From ``POST /training-jobs/{id}/stop`` to the end of the process that trains, which closes its MLflow run before.

``python benchmarks/stop.py [--jobs N]`` starts a stack of its own.
"""

import argparse
import contextlib
import statistics
import sys
import time

import psutil
import requests
from first_epoch import EPOCH_WITHIN_S, add_cell, api
from measuring import show

ENGINE = "flows.engine"  # in the command line of every process of a flow run
BATCH = {"epochs": 10_000, "batch_size": 8}


def training() -> list[psutil.Process]:
    """Processes of flow runs below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(ENGINE in part for part in process.cmdline()):
                found.append(process)
    return found


def stop(root: str, session: requests.Session, battery_ids: list[int]) -> tuple[float, float]:
    """Seconds until a stop in the middle of training is answered, and until no process trains."""
    asked = {"algorithm": "bilstm", "battery_ids": battery_ids, "hyperparams": BATCH}
    answer = session.post(f"{root}/training-jobs", json=asked, timeout=30)
    answer.raise_for_status()
    job = f"{root}/training-jobs/{answer.json()['id']}"
    deadline = time.monotonic() + EPOCH_WITHIN_S
    while session.get(job, timeout=30).json()["current_epoch"] < 2:
        if time.monotonic() > deadline:
            sys.exit("the job does not train")
        time.sleep(0.1)
    processes = training()
    if not processes:
        sys.exit(f"no process of {ENGINE}")
    began = time.perf_counter()
    session.post(f"{job}/stop", timeout=30).raise_for_status()
    answered = time.perf_counter() - began
    psutil.wait_procs(processes, timeout=60)
    gone = time.perf_counter() - began
    if session.get(job, timeout=30).json()["status"] != "stopped" or training():
        sys.exit("the job was not stopped")
    return answered, gone


def main() -> None:
    """Stop jobs one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5)
    count = parser.parse_args().jobs
    with api() as (root, session):
        battery_ids = [add_cell(root, session, seed) for seed in range(2)]
        taken = [stop(root, session, battery_ids) for _ in range(count)]
    answers, ends = zip(*taken, strict=True)
    rows = [
        *((str(number), *times) for number, times in enumerate(taken, 1)),
        ("median", statistics.median(answers), statistics.median(ends)),
        ("most", max(answers), max(ends)),
    ]
    show("A stop, seconds", ("job", "answered", "no process left"), rows)


if __name__ == "__main__":
    main()
