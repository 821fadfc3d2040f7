"""A page of cycles beside encoding its numbers alone.

python benchmarks/pages.py
"""

from pathlib import Path

import numpy as np
import orjson
import requests
import scipy.io
from measuring import api_alone, best_of, show, signed_in, temporary_home, upload

CYCLES, POINTS = 20, 1000


def wide_cell(path: Path) -> None:
    """A generic cell of 20 cycles with 1000 points each."""
    table = np.zeros((1, CYCLES), dtype=[(n, object) for n in ("cycle", "time", "voltage", "current", "temperature")])
    half, random = POINTS // 2, np.random.default_rng(0)
    for index in range(CYCLES):
        volts = np.concatenate([np.linspace(3.2, 3.6, half), np.linspace(3.4, 2.2, half)])
        table["cycle"][0, index] = float(index + 1)
        table["time"][0, index] = np.linspace(0, 10_800, POINTS)
        table["voltage"][0, index] = volts + random.normal(0, 1e-3, POINTS)
        table["current"][0, index] = np.concatenate([np.full(half, 0.7), np.full(half, -0.7)])
        table["temperature"][0, index] = 25 + random.normal(0, 0.1, POINTS)
    scipy.io.savemat(path, {"cycles": table})


def page(session: requests.Session, root: str, folder: Path) -> list[object]:
    """A page of 20 cycles of 1000 points beside orjson of the same arrays and an endpoint that answers nothing."""
    path = folder / "wide.mat"
    wide_cell(path)
    battery = upload(session, root, path)
    url = f"{root}/batteries/{battery['id']}/cycles?page_size={CYCLES}"
    items = session.get(url, timeout=60).json()["items"]
    names = ("voltage", "current", "temperature")
    arrays = [{n: np.array(item[n], dtype=np.float32) for n in names} for item in items]
    ours = best_of(30, lambda: session.get(url, timeout=60).content)
    encode = best_of(30, lambda: orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY))
    empty = best_of(30, lambda: session.get(f"{root}/version", timeout=60).content)
    name = f"page of {CYCLES} cycles x {POINTS} points / orjson + GET /version"
    return [name, ours, encode + empty, ours / (encode + empty)]


def main() -> None:
    """Measure with the API alone: versioning and training are away."""
    with temporary_home() as home, api_alone(home) as (root, _, _):
        rows = [page(signed_in(root), root, home)]
    show("Seconds, best of several", ("what", "ours", "alone", "ratio"), rows)


if __name__ == "__main__":
    main()
