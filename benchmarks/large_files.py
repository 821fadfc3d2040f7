"""Memory of the API and of the parser while files of 100 MB are uploaded.

python benchmarks/large_files.py
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import psutil
import scipy.io
from measuring import api_alone, show, signed_in, temporary_home, upload
from numpy.typing import NDArray

FILE_BYTES = 99 * 10**6
CYCLE_SAMPLES = 2000
COLUMNS = ("time", "voltage", "current", "temperature")
MIB = 2**20
SAMPLE_S = 0.002

Columns = dict[str, NDArray[np.float64]]


def cycles(count: int) -> list[Columns]:
    """Cycles of a cell as a cycler records them: noise, and no more digits than it has."""
    half, random = CYCLE_SAMPLES // 2, np.random.default_rng(0)
    shape = np.concatenate([np.linspace(3.2, 3.6, half), np.linspace(3.4, 2.2, half)])
    load = np.concatenate([np.full(half, 0.7), np.full(half, -0.7)])
    made = []
    for _ in range(count):
        noise = random.normal(0, 1e-3, (3, CYCLE_SAMPLES))
        time_s = np.linspace(0, 10_800, CYCLE_SAMPLES).round(1)
        volts, amperes = (shape + noise[0]).round(4), (load + noise[1]).round(4)
        made.append(dict(zip(COLUMNS, (time_s, volts, amperes, (25 + 100 * noise[2]).round(2)), strict=True)))
    return made


def level5(path: Path, listed: list[Columns], *, compressed: bool) -> None:
    """A struct array of cycles, v6 or v7.0."""
    table = np.zeros((1, len(listed)), dtype=[(name, object) for name in COLUMNS])
    for at, cycle in enumerate(listed):
        for name in COLUMNS:
            table[name][0, at] = cycle[name]
    scipy.io.savemat(path, {"cycles": table}, do_compression=compressed)


def v73(path: Path, listed: list[Columns], *, compressed: bool) -> None:
    """A struct array of cycles, v7.3: references to one array for each cycle and column."""
    options = {"compression": "gzip", "shuffle": True} if compressed else {}
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cycles")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for name in COLUMNS:
            references = group.create_dataset(name, (len(listed), 1), dtype=h5py.ref_dtype)
            for at, cycle in enumerate(listed):
                target = f"#refs#/{name}{at}"
                references[at, 0] = file.create_dataset(target, data=cycle[name][None, :], **options).ref


def sized(write: Callable[[Path, list[Columns]], None], path: Path) -> Path:
    """A file of nearly ``FILE_BYTES``."""
    write(path, cycles(50))
    write(path, cycles(int(50 * FILE_BYTES / path.stat().st_size)))
    return path


def small(path: Path) -> Path:
    """A file of three cycles."""
    level5(path, cycles(3), compressed=True)
    return path


@contextlib.contextmanager
def peaks(api: psutil.Process) -> Iterator[dict[str, int]]:
    """Largest resident bytes of the API, and of the largest of its parsers, while a block lasts."""
    found = {"api": api.memory_info().rss, "parser": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            found["api"] = max(found["api"], api.memory_info().rss)
            for template in api.children():
                for parser in template.children():
                    with contextlib.suppress(OSError, StopIteration):
                        status = Path(f"/proc/{parser.pid}/status").read_text().splitlines()
                        line = next(line for line in status if line.startswith("VmHWM"))
                        found["parser"] = max(found["parser"], int(line.split()[1]) * 1024)
            time.sleep(SAMPLE_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def main() -> None:
    """Upload each kind of file to an API of its own."""
    kinds: dict[str, Callable[[Path, list[Columns]], None]] = {
        "v6": lambda path, listed: level5(path, listed, compressed=False),
        "v7.0, compressed": lambda path, listed: level5(path, listed, compressed=True),
        "v7.3": lambda path, listed: v73(path, listed, compressed=False),
        "v7.3, compressed": lambda path, listed: v73(path, listed, compressed=True),
    }
    rows: list[list[object]] = []
    for name, write in kinds.items():
        with temporary_home() as home, api_alone(home) as (root, pid, _):
            path = sized(write, home / "large.mat")
            session, api = signed_in(root), psutil.Process(pid)
            upload(session, root, small(home / "small.mat"))  # what the first upload takes for good is taken
            before = api.memory_info().rss
            began = time.perf_counter()
            with peaks(api) as found:
                made = upload(session, root, path)
            seconds, size = time.perf_counter() - began, path.stat().st_size
            memory = [before / MIB, (found["api"] - before) / MIB, found["parser"] / MIB, found["parser"] / size]
            rows.append([name, size / 1e6, made["total_cycles"], seconds, *memory])
    columns = ("file", "MB", "cycles", "upload s", "API MiB", "API's growth MiB", "parser's peak MiB", "peak / file")
    show("Peak memory of uploads", columns, rows)


if __name__ == "__main__":
    main()
