"""Predictions over HTTP: how fast, how many at once, and whether a change of champion or a long load is noticed.

python benchmarks/predictions.py [--minutes 10] [--only one,batch,throughput,champions,load]

MLflow, BentoML and the API run in a home of their own; the models in the registry are small ones, trained here.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil
from measuring import CHECKOUT, NOWHERE, answers, environment, free_ports, running, seconds_until, show, signed_in, temporary_home

ALGORITHM = "bilstm"
CELL_CYCLES = 60
Asks = Callable[[], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True)
class Rig:
    """What is measured: addresses, a token, processes, and two models."""

    api_port: int
    serving_port: int
    token: str
    battery_id: int
    versions: tuple[str, str]  # registered ones of ALGORITHM
    set_champion: Callable[[str], None]
    question: bytes  # what the API asks BentoML about the battery
    api: psutil.Process
    serving: psutil.Process


class Connection:
    """One keep-alive connection that posts JSON: no client library, whose own time would be measured too."""

    def __init__(self, port: int, path: str, body: bytes, token: str = "") -> None:
        self.port, self.reader, self.writer = port, None, None
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body

    async def __call__(self) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self.reader.readexactly(length)

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            await self.writer.wait_closed()
            self.writer = None


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """MLflow, BentoML and the API, a battery, and two models of the algorithm, the first of them champion."""
    with temporary_home() as home:
        api_port, mlflow_port, serving_port = free_ports(3)
        settings = environment(
            home,
            api_port=api_port,
            mlflow_port=mlflow_port,
            serving_port=serving_port,
            prefect_url=f"{NOWHERE}/api",
            prediction_cache_s=0,
            login_limit="",
        ) | {"BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true"}
        (home / "var").mkdir(parents=True)
        os.environ.update({name: value for name, value in settings.items() if name.startswith("BATTERY_")})
        sys.path.insert(0, str(CHECKOUT))
        from launch import parts
        from store.settings import get_settings

        chosen = get_settings()
        with contextlib.ExitStack() as stack:
            processes = {}
            for part in (parts.mlflow_server(chosen), parts.bentoml_service(chosen), parts.api(chosen)):
                log = home / f"{part.name}.log"
                process = stack.enter_context(running(part.command, settings, log))
                seconds_until(partial(answers, part.health or ""), process, log, within=120)
                processes[part.name] = psutil.Process(process.pid)
            yield furnished(chosen, processes, api_port, serving_port)


class Silent:
    """Training that nobody watches."""

    def log(self, level: str, message: str) -> None: ...

    def epoch(self, epoch: object) -> None: ...

    def should_stop(self) -> bool:
        return False


def furnished(settings: Any, processes: dict[str, psutil.Process], api_port: int, serving_port: int) -> Rig:
    """Train, register and upload what is asked about."""
    import numpy as np

    from batteries.features import FEATURE_NAMES, FEATURE_VERSION
    from batteries.samples import synthetic_cell, write_mat
    from models.hyperparameters import HYPERPARAMETERS
    from models.registry import Registry
    from models.training import fit
    from store import histories, jobs, models, session

    root = f"http://127.0.0.1:{api_port}/api/v1"
    caller = signed_in(root)
    path = settings.var / "cell.mat"
    write_mat(synthetic_cell(cycles=CELL_CYCLES, nominal_capacity_ah=1.1, seed=1), path)
    with path.open("rb") as file:
        made = caller.post(f"{root}/batteries", files={"file": file}, data={"nominal_capacity": "1.1"}, timeout=300)
    battery_id = made.json()["id"]
    registry = Registry(settings.mlflow, settings.var / "weights")
    versions = []
    lives = histories.histories(settings.data, [battery_id], settings.end_of_life)
    for seed in (0, 1):
        hyperparameters = HYPERPARAMETERS[ALGORITHM](epochs=3, seed=seed)
        fitted = fit(ALGORITHM, hyperparameters, lives, observer=Silent(), feature_names=FEATURE_NAMES, feature_version=FEATURE_VERSION)
        run_id = registry.start_run(ALGORITHM, "benchmark", {}, {})
        registered = registry.register(run_id, fitted, name="benchmark", version=f"1.0.{seed}")
        registry.end_run(run_id, "FINISHED")
        with session.transaction() as opened:
            job = jobs.create(opened, algorithm=ALGORITHM, battery_ids=[battery_id], hyperparams=hyperparameters.model_dump(), total_epochs=3)
            models.register(
                opened,
                job,
                mlflow_version=registered.version,
                mlflow_run_id=run_id,
                artifact_path=registered.artifact_path,
                metrics={},
                sha256=registered.sha256,
                file_size=registered.file_size,
                data_version=None,
            )
        versions.append(registered.version)
    registry.set_alias(ALGORITHM, "champion", versions[0])
    life = lives[0]
    window = int(fitted.bundle.window)
    question = {
        "algorithm": ALGORITHM,
        "model_version": None,
        "x": np.ascontiguousarray(life.features[-window:], dtype=np.float32),
        "cycle_index": [int(index) for index in life.cycle_index[-window:]],
        "nominal_capacity_ah": 1.1,
        "chemistry": None,
    }
    return Rig(
        api_port,
        serving_port,
        caller.headers["Authorization"].removeprefix("Bearer "),
        battery_id,
        (versions[0], versions[1]),
        partial(registry.set_alias, ALGORITHM, "champion"),
        orjson.dumps({"items": [question]}, option=orjson.OPT_SERIALIZE_NUMPY),
        processes["api"],
        processes["serving"],
    )


def facade(rig: Rig, count: int = 0) -> Connection:
    """A connection that asks the API for one prediction, or for a batch of ``count``."""
    item = {"algorithm": ALGORITHM, "battery_id": rig.battery_id}
    if count:
        return Connection(rig.api_port, "/api/v1/predictions/batch", orjson.dumps({"requests": [item] * count}), rig.token)
    return Connection(rig.api_port, "/api/v1/predictions", orjson.dumps(item), rig.token)


def direct(rig: Rig) -> Connection:
    """A connection that asks BentoML the same as the API does."""
    return Connection(rig.serving_port, "/predict", rig.question)


async def timed(ask: Connection, times: int) -> list[float]:
    """Milliseconds of each of several calls, one after another, on a connection of their own."""
    await ask.close()
    await ask()
    durations = []
    for _ in range(times):
        began = time.perf_counter()
        status, body = await ask()
        durations.append(1000 * (time.perf_counter() - began))
        assert status == 200, body
    return durations


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def clients(make: Callable[[], Connection], count: int, times: int) -> tuple[list[float], float]:
    """Durations in ms of ``count`` clients' calls, ``times`` each, and calls a second over all."""
    connections = [make() for _ in range(count)]
    for connection in connections:
        await timed(connection, 3)
    began = time.perf_counter()
    durations = await asyncio.gather(*(timed(connection, times) for connection in connections))
    seconds = time.perf_counter() - began
    for connection in connections:
        await connection.close()
    flat = [value for values in durations for value in values]
    return flat, len(flat) / seconds


async def speed(rig: Rig) -> None:
    one, through, fifty = direct(rig), facade(rig), facade(rig, 50)
    for ask in (one, through, fifty):
        await timed(ask, 20)
    rounds = []
    for _ in range(5):
        rounds.append([statistics.median(await timed(ask, times)) for ask, times in ((one, 100), (through, 100), (fifty, 20))])
    best = [min(column) for column in zip(*rounds, strict=True)]
    eight = [await clients(partial(facade, rig), 8, 60) for _ in range(3)]
    sixteen = max([(await clients(partial(facade, rig), 16, 60))[1] for _ in range(4)])
    alone = max([(await clients(partial(facade, rig), 1, 100))[1] for _ in range(4)])
    tail = min(quantile(durations, 0.99) / statistics.median(durations) for durations, _ in eight)
    rows = [
        ["one, BentoML directly, p50 ms", best[0], ""],
        ["one, through the API, p50 ms", best[1], f"{best[1] / best[0]:.2f} x (<= 2.5)"],
        ["batch of 50, p50 ms", best[2], f"{best[2] / best[1]:.2f} x (<= 4)"],
        ["8 clients p50 ms", min(statistics.median(d) for d, _ in eight), ""],
        ["8 clients p99/p50", tail, "<= 5"],
        ["1 client, a second", alone, ""],
        ["16 clients, a second", sixteen, f"{sixteen / alone:.2f} x (>= 5)"],
    ]
    show("Predictions", ("what", "measured", "ratio"), rows)


def main() -> None:
    with rig() as furnished:
        asyncio.run(speed(furnished))


if __name__ == "__main__":
    main()
