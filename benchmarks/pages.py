"""Pages of cycles beside encoding their numbers alone; whole lives in every format; what memory it leaves the API.

python benchmarks/pages.py
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import orjson
import psutil
import requests
import scipy.io
from measuring import api_alone, best_of, show, signed_in, temporary_home, upload

CYCLES, POINTS, LIFE = 20, 1000, 5000
ARRAYS = ("voltage", "current", "temperature")
TIMES = 40


def wide_cell(path: Path, cycles: int = CYCLES) -> None:
    """A generic cell with 1000 points a cycle."""
    names = ("cycle", "time", "voltage", "current", "temperature")
    table = np.zeros((1, cycles), dtype=[(name, object) for name in names])
    half, random = POINTS // 2, np.random.default_rng(0)
    for index in range(cycles):
        volts = np.concatenate([np.linspace(3.2, 3.6, half), np.linspace(3.4, 2.2, half)])
        table["cycle"][0, index] = float(index + 1)
        table["time"][0, index] = np.linspace(0, 10_800, POINTS, dtype=np.float32)
        table["voltage"][0, index] = np.float32(volts + random.normal(0, 1e-3, POINTS))
        table["current"][0, index] = np.repeat(np.float32([0.7, -0.7]), half)
        table["temperature"][0, index] = np.float32(25 + random.normal(0, 0.1, POINTS))
    scipy.io.savemat(path, {"cycles": table})


def pages(session: requests.Session, root: str, short: str, long: str) -> Iterator[list[object]]:
    """Pages of 20 cycles beside orjson of the same three arrays and an endpoint that answers nothing."""

    def get(address: str) -> Callable[[], object]:
        return lambda: session.get(address, timeout=60).content

    items = orjson.loads(session.get(f"{short}/cycles", timeout=60).content)["items"]
    arrays = [{name: np.array(item[name], dtype=np.float32) for name in ARRAYS} for item in items]
    last = LIFE // CYCLES
    numbers = cycle(range(2, last))

    def another() -> object:
        return session.get(f"{long}/cycles?page={next(numbers)}", timeout=60).content

    asked: dict[str, Callable[[], object]] = {
        "a page that was asked for before": get(f"{short}/cycles"),
        "a page for the first time": another,
        "first page of 5,000 cycles": get(f"{long}/cycles?page=1"),
        "last page of 5,000 cycles": get(f"{long}/cycles?page={last}"),
        "a page of 100 cycles with time": get(f"{long}/cycles?page_size=100&fields=time,voltage,current,temperature"),
        "a whole life's scalars (summary)": get(f"{long}/summary"),
    }
    encode = best_of(TIMES, lambda: orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY))
    ours, empty = dict.fromkeys(asked, np.inf), np.inf
    for _ in range(4):  # in turns: other work of the machine disturbs all alike
        empty = min(empty, best_of(TIMES, get(f"{root}/version")))
        for name, action in asked.items():
            ours[name] = min(ours[name], best_of(TIMES // 4, action))
    yield ["orjson of 20 cycles x 1000 points x 3 arrays", encode * 1e3, ""]
    yield ["GET /version", empty * 1e3, ""]
    for name, seconds in ours.items():
        yield [name, seconds * 1e3, seconds / (encode + empty)]


def lives(session: requests.Session, long: str, api: psutil.Process) -> Iterator[list[object]]:
    """5,000 cycles x 1000 points x 4 arrays and all scalars in every format."""
    for name in ("arrow", "parquet", "csv"):
        received = 0

        def receive(name: str = name) -> None:
            nonlocal received
            with session.get(f"{long}/cycles?format={name}", timeout=600, stream=True) as answer:
                received = sum(len(piece) for piece in answer.iter_content(1024 * 1024))

        seconds = best_of(1, receive)
        yield [name, seconds, received / 1e6, api.memory_info().rss / 1e6]


def main() -> None:
    """Measure with the API alone: versioning and training are away."""
    with temporary_home() as home, api_alone(home) as (root, pid, _):
        session, path, api = signed_in(root), home / "wide.mat", psutil.Process(pid)
        wide_cell(path)
        short = f"{root}/batteries/{upload(session, root, path)['id']}"
        wide_cell(path, LIFE)
        long = f"{root}/batteries/{upload(session, root, path)['id']}"
        paged = list(pages(session, root, short, long))
        paged.append(["resident memory of the API afterwards, MB", api.memory_info().rss / 1e6, ""])
        whole = list(lives(session, long, api))
    show("Pages, best of 40", ("what", "ms", "of orjson + GET /version"), paged)
    show("A whole life", ("format", "s", "MB", "API afterwards, MB"), whole)


if __name__ == "__main__":
    main()
