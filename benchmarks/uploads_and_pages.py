"""An upload beside reading the file alone; a page of cycles beside encoding its numbers alone.

python benchmarks/uploads_and_pages.py        # real files from $BATTERY_SHARED_DATA or ../shared/data
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
import requests
import scipy.io
from measuring import api_alone, best_of, shared_data, show, signed_in, temporary_home

TIMES = 3
CYCLES, POINTS = 20, 1000


def read_by_reference(path: Path) -> int:
    """Follow every reference of a MATLAB v7.3 file with the plain ``f[ref]``; gives the number followed."""
    followed = 0
    with h5py.File(path) as file:

        def follow(item: Any) -> None:
            nonlocal followed
            if isinstance(item, h5py.Group):
                for name in item:
                    follow(item[name])
            elif item.dtype == h5py.ref_dtype:
                for reference in item[()].flat:
                    followed += 1
                    follow(file[reference])
            else:
                item[()]

        for name in file:
            if not name.startswith("#"):
                follow(file[name])
    return followed


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


def upload(session: requests.Session, root: str, path: Path) -> dict[str, Any]:
    """The battery that an upload makes."""
    with path.open("rb") as file:
        answer = session.post(f"{root}/batteries", files={"file": file}, timeout=300)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def uploads(session: requests.Session, root: str, data: Path) -> list[list[object]]:
    """Uploads of real files beside plain reading of them."""
    v5, v73 = data / "nasa" / "B0005.mat", data / "nasa" / "B0006_v73.mat"
    rows: list[list[object]] = []
    reads: list[tuple[str, Path, Callable[[], object]]] = [
        ("upload B0005.mat (v5) / scipy.io.loadmat", v5, partial(scipy.io.loadmat, v5)),
        ("upload B0006_v73.mat / plain f[ref] loop", v73, partial(read_by_reference, v73)),
    ]
    for name, path, read in reads:
        ours = best_of(TIMES, partial(upload, session, root, path))
        alone = best_of(TIMES, read)
        rows.append([name, ours, alone, ours / alone])
    return rows


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
    data = shared_data()
    with temporary_home() as home, api_alone(home) as (root, _, _):
        session = signed_in(root)
        rows = [page(session, root, home)]
        if data is None:
            print("no real files: set BATTERY_SHARED_DATA", file=sys.stderr)
        else:
            rows += uploads(session, root, data)
    show("Seconds, best of several", ("what", "ours", "alone", "ratio"), rows)


if __name__ == "__main__":
    main()
