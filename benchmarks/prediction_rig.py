"""What the benchmark of predictions runs on: MLflow, BentoML and the API in a home of their own, models, a battery."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import psutil
from measuring import (
    CHECKOUT,
    NOWHERE,
    answers,
    environment,
    free_ports,
    running,
    seconds_until,
    signed_in,
    temporary_home,
    upload,
)

ALGORITHM = "bilstm"
CYCLES = 60
MODELS = 3


@dataclass(frozen=True)
class Rig:
    """What is measured."""

    api_port: int
    serving_port: int
    token: str
    battery_id: int
    models: dict[str, int]  # id by registered version
    set_champion: Callable[[str], None]
    questions: list[bytes]  # what the API asks BentoML, as of one cycle each
    api: psutil.Process
    serving: psutil.Process


class Connection:
    """One keep-alive connection that posts bodies in turn: no client library, whose own time would be measured too."""

    def __init__(self, port: int, path: str, bodies: Sequence[bytes], token: str = "") -> None:
        self.port, self.count = port, 0
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {token}\r\n"
        self.requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]

    async def __call__(self) -> tuple[int, bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(self.requests[self.count % len(self.requests)])
        self.count += 1
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(length)

    async def timed(self) -> float:
        """Milliseconds of a call that must succeed."""
        began = time.perf_counter()
        status, body = await self()
        assert status == 200, body
        return 1000 * (time.perf_counter() - began)

    async def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            await self.streams[1].wait_closed()
            self.streams = None


def facade(rig: Rig, first: int = 0, batch: int = 0) -> Connection:
    """A connection that asks the API, as of another cycle each time; with ``batch`` for so many at once."""
    items = [
        {"algorithm": ALGORITHM, "battery_id": rig.battery_id, "cycle_index": 1 + (first + number) % CYCLES}
        for number in range(CYCLES)
    ]
    if batch:
        body = orjson.dumps({"requests": items[:batch]})
        return Connection(rig.api_port, "/api/v1/predictions/batch", [body], rig.token)
    return Connection(rig.api_port, "/api/v1/predictions", [orjson.dumps(item) for item in items], rig.token)


def direct(rig: Rig) -> Connection:
    """A connection that asks BentoML the same as the API does."""
    return Connection(rig.serving_port, "/predict", rig.questions)


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """Everything started, and the first of the models champion."""
    with temporary_home() as home, contextlib.ExitStack() as stack:
        api_port, mlflow_port, serving_port = free_ports(3)
        ports = {"api_port": api_port, "mlflow_port": mlflow_port, "serving_port": serving_port}
        settings = environment(home, **ports, prefect_url=f"{NOWHERE}/api", prediction_cache_s=0)
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true"}
        settings |= quiet | {"BENTOML_HOME": str(home / "bentoml"), "PYTHONPATH": str(CHECKOUT)}
        (home / "var").mkdir(parents=True)
        os.environ.update({name: value for name, value in settings.items() if name.startswith("BATTERY_")})
        sys.path.insert(0, str(CHECKOUT))
        from launch import parts
        from store.settings import get_settings

        chosen = get_settings()
        processes = {}
        for part in (parts.mlflow_server(chosen), parts.bentoml_service(chosen), parts.api(chosen)):
            log = home / f"{part.name}.log"
            process = stack.enter_context(running(part.command, settings, log))
            seconds_until(partial(answers, part.health or ""), process, log, within=180)
            processes[part.name] = psutil.Process(process.pid)
        yield furnished(chosen, processes)


class Silent:
    """Training that nobody watches."""

    def log(self, level: str, message: str) -> None: ...

    def epoch(self, epoch: object) -> None: ...

    def should_stop(self) -> bool:
        return False


def furnished(settings: Any, processes: dict[str, psutil.Process]) -> Rig:
    """Upload the battery, train on it and register."""
    from batteries.samples import synthetic_cell, write_mat
    from models.registry import Registry
    from store import histories

    root = f"http://127.0.0.1:{settings.api_port}/api/v1"
    caller = signed_in(root)
    path = settings.var / "cell.mat"
    write_mat(synthetic_cell(cycles=CYCLES, nominal_capacity_ah=1.1, seed=1), path)
    battery = upload(caller, root, path, nominal_capacity=1.1)
    (life,) = histories.histories(settings.data, [battery["id"]], settings.end_of_life)
    registry = Registry(settings.mlflow, settings.var / "weights")
    models, window = {}, 0
    for seed in range(MODELS):
        version, model_id, window = trained(registry, life, battery["id"], seed)
        models[version] = model_id
    registry.set_alias(ALGORITHM, "champion", next(iter(models)))
    return Rig(
        settings.api_port,
        settings.serving_port,
        str(caller.headers["Authorization"]).removeprefix("Bearer "),
        battery["id"],
        models,
        partial(registry.set_alias, ALGORITHM, "champion"),
        [question(life, last, window) for last in range(1, CYCLES + 1)],
        processes["api"],
        processes["serving"],
    )


def trained(registry: Any, life: Any, battery_id: int, seed: int) -> tuple[str, int, int]:
    """Registered version, id and window of a new model."""
    from batteries.features import FEATURE_NAMES, FEATURE_VERSION
    from models.hyperparameters import HYPERPARAMETERS
    from models.training import fit
    from store import jobs, models, session

    chosen = HYPERPARAMETERS[ALGORITHM](epochs=2, seed=seed)
    names = {"feature_names": FEATURE_NAMES, "feature_version": FEATURE_VERSION}
    fitted = fit(ALGORITHM, chosen, [life], observer=Silent(), **names)
    run_id = registry.start_run(ALGORITHM, "benchmark", {}, {})
    registered = registry.register(run_id, fitted, name="benchmark", version=f"1.0.{seed}")
    registry.end_run(run_id, "FINISHED")
    facts = {name: getattr(registered, name) for name in ("artifact_path", "sha256", "file_size")}
    with session.transaction() as opened:
        wanted = {"algorithm": ALGORITHM, "battery_ids": [battery_id], "hyperparams": chosen.model_dump()}
        job = jobs.create(opened, **wanted, total_epochs=2)
        ids = {"mlflow_version": registered.version, "mlflow_run_id": run_id}
        model = models.register(opened, job, **ids, **facts, metrics={}, data_version=None)
        return registered.version, model.id, fitted.bundle.window


def question(life: Any, last: int, window: int) -> bytes:
    """What the API asks BentoML about the cell's first ``last`` cycles."""
    from api.serving import Question, as_json

    shown = slice(max(0, last - window), last)
    index = [int(number) for number in life.cycle_index[shown]]
    return as_json([Question(ALGORITHM, None, life.features[shown], index, 1.1, None)])
