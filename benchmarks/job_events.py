"""From an epoch's end in the training process to its message at a client: p50, p95 and the longest.

``python benchmarks/job_events.py [--jobs 3] [--clients 10] [--epochs 60]``: the API alone
runs. A process a job writes epochs as the flow does, through ``flows.observing`` into the database that the API reads.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time

from measuring import CHECKOUT, api_alone, at, show, signed_in, temporary_home
from websockets.sync.client import connect

from store import jobs, migrations, session

SECONDS_AN_EPOCH = 0.2
TRAIN = """
import sys, time
from flows.observing import JobObserver
from models.observer import Epoch
from store import jobs
from store.session import transaction
job_id, epochs, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
observer = JobObserver(job_id, 0, lambda epoch: None)
for number in range(1, epochs + 1):
    time.sleep(pause)
    ended = time.time()
    observer.epoch(Epoch(number, epochs, ended, 0.5, pause))
with transaction() as rows:
    jobs.append_event(rows, job_id, "complete", {"model_id": 1, "final_metrics": {"train_loss": 0.1, "val_loss": 0.1}})
"""  # the training loss is the moment of the epoch's end


def queued(epochs: int) -> int:
    """Id of a new job."""
    with session.transaction() as rows:
        made = jobs.create(rows, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=epochs)
        return made.id


def listen(root: str, token: str, job_id: int, delays: list[float]) -> None:
    """Follow a job to its end; the milliseconds that each epoch took to arrive."""
    address = f"{root.replace('http', 'ws', 1)}/training-jobs/{job_id}/ws"
    with connect(address, additional_headers={"Authorization": token}, proxy=None) as socket:
        for frame in socket:
            message = json.loads(frame)
            if "train_loss" in message:
                delays.append(1000 * (time.time() - message["train_loss"]))


def measure(root: str, token: str, count: int, clients: int, epochs: int) -> list[float]:
    """Delays of all messages at all clients."""
    delays: list[float] = []
    ids = [queued(epochs) for _ in range(count)]
    listeners = [
        threading.Thread(target=listen, args=(root, token, job_id, delays)) for job_id in ids for _ in range(clients)
    ]
    for thread in listeners:
        thread.start()
    time.sleep(1.0)
    command = [sys.executable, "-c", TRAIN]
    training = [subprocess.Popen([*command, str(i), str(epochs), str(SECONDS_AN_EPOCH)], cwd=CHECKOUT) for i in ids]
    for process in training:
        process.wait()
    for thread in listeners:
        thread.join()
    if len(delays) != count * clients * epochs:
        sys.exit(f"{len(delays)} messages arrived, {count * clients * epochs} were due")
    return delays


def main() -> None:
    """One client of one job, then the most that are allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    asked = parser.parse_args()
    rows = []
    with temporary_home() as home, at(home):
        os.environ["PYTHONPATH"] = str(CHECKOUT)
        migrations.upgrade()
        with api_alone(home) as (root, _, _):
            token = str(signed_in(root).headers["Authorization"])
            for count, clients in ((1, 1), (asked.jobs, asked.clients)):
                delays = measure(root, token, count, clients, asked.epochs)
                quantiles = statistics.quantiles(delays, n=20)
                rows.append((f"{count} x {clients}", len(delays), quantiles[9], quantiles[18], max(delays)))
    show("An epoch's end to its message at the client, ms", ("jobs x clients", "messages", "p50", "p95", "most"), rows)


if __name__ == "__main__":
    main()
