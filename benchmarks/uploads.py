"""Uploads beside reading the file alone.

python benchmarks/uploads.py        # real files from $BATTERY_SHARED_DATA or ../shared/data
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import requests
import scipy.io
from measuring import api_alone, best_of, shared_data, show, signed_in, temporary_home, upload

TIMES = 7


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


def uploads(session: requests.Session, root: str, data: Path) -> list[list[object]]:
    """Uploads of real files beside plain reading of them."""
    v5, v73 = data / "nasa" / "B0005.mat", data / "nasa" / "B0006_v73.mat"
    rows: list[list[object]] = []
    reads: list[tuple[str, Path, Callable[[], object]]] = [
        ("upload B0005.mat (v5) / scipy.io.loadmat", v5, partial(scipy.io.loadmat, v5)),
        ("upload B0006_v73.mat / plain f[ref] loop", v73, partial(read_by_reference, v73)),
    ]
    for name, path, read in reads:
        upload(session, root, path)  # parsers are forked from a process that the first upload starts
        pairs = [(best_of(1, partial(upload, session, root, path)), best_of(1, read)) for _ in range(TIMES)]
        ours, alone = (min(column) for column in zip(*pairs, strict=True))
        rows.append([name, ours, alone, ours / alone])
    return rows


def main() -> None:
    """Measure with the API alone: versioning and training are away."""
    data = shared_data()
    if data is None:
        sys.exit("no real files: set BATTERY_SHARED_DATA")
    with temporary_home() as home, api_alone(home) as (root, _, _):
        rows = uploads(signed_in(root), root, data)
    show("Seconds, best of several", ("what", "ours", "alone", "ratio"), rows)


if __name__ == "__main__":
    main()
