"""Uploads beside reading the file alone: by curl, as in the tutorial, and by requests, which first copies the file.

python benchmarks/uploads.py        # real files from $BATTERY_SHARED_DATA or ../shared/data
"""

import os
import subprocess
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


def upload_by_curl(session: requests.Session, root: str, path: Path) -> float:
    """Seconds that curl took to be told 201."""
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code} %{time_total}", "-F", f"file=@{path}"]
    command += ["-H", f"Authorization: {session.headers['Authorization']!s}", f"{root}/batteries"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if said[0] != "201":
        sys.exit(f"upload of {path.name}: {said[0]}")
    return float(said[1])


def uploads(session: requests.Session, root: str, data: Path) -> list[list[object]]:
    """Uploads of real files beside plain reading of them, in turns."""
    v5, v73 = data / "nasa" / "B0005.mat", data / "nasa" / "B0006_v73.mat"
    rows: list[list[object]] = []
    reads: list[tuple[str, Path, Callable[[], object]]] = [
        ("B0005.mat (v5) / scipy.io.loadmat", v5, partial(scipy.io.loadmat, v5)),
        ("B0006_v73.mat / plain f[ref] loop", v73, partial(read_by_reference, v73)),
    ]
    for name, path, read in reads:
        upload(session, root, path)  # parsers are forked from a process that the first upload starts
        turns = [
            (upload_by_curl(session, root, path), best_of(1, partial(upload, session, root, path)), best_of(1, read))
            for _ in range(TIMES)
        ]
        curl, by_requests, alone = (min(column) for column in zip(*turns, strict=True))
        rows.append([f"curl: {name}", curl, alone, curl / alone])
        rows.append([f"requests: {name}", by_requests, alone, by_requests / alone])
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
