"""What the next data version costs with 10 batteries and with 500. The goal: a ratio of at most 2.

``python benchmarks/versioning.py``. Two homes, one with few small synthetic batteries and one with many, take turns: a
battery is added, then everything is versioned and pushed with real DVC to a folder, as the flow ``version-data`` does
it. First inside a process that has imported DVC already, then with the process that a run of the flow starts.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measuring import CHECKOUT, at, environment, show, temporary_home

from batteries.samples import synthetic_cell, write_mat
from store import imports, migrations
from store.settings import get_settings
from store.versions import version_everything

CYCLES = 10
FIRST_SEED = 10_000  # of the batteries that are measured
IN_A_PROCESS = "from store.versions import version_everything; version_everything()"


def add_battery(seed: int) -> None:
    """Upload a synthetic cell, but for HTTP."""
    with imports.incoming() as folder:
        uploaded = folder / "received"
        write_mat(synthetic_cell(cycles=CYCLES, seed=seed), uploaded)
        imports.import_upload(uploaded, f"cell{seed}.mat")


def fill(home: Path, count: int) -> None:
    """A home with that many batteries, versioned and pushed."""
    with at(home):
        migrations.upgrade()
        for seed in range(count):
            add_battery(seed)
        version_everything()


def version_in_a_process() -> None:
    """As a run of the flow does it, but for Prefect."""
    settings = environment(get_settings().home)
    subprocess.run([sys.executable, "-c", IN_A_PROCESS], cwd=CHECKOUT, env=settings, check=True, capture_output=True)


def next_version_s(home: Path, seed: int, version: Callable[[], object]) -> float:
    """Seconds that a version takes after one battery more."""
    with at(home):
        add_battery(seed)
        began = time.perf_counter()
        version()
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=9)
    wanted = parser.parse_args()
    ways = {"inside a process": version_everything, "with its process": version_in_a_process}
    rows = []
    with temporary_home() as few, temporary_home() as many:
        fill(few, wanted.few - 1)
        fill(many, wanted.many - 1)
        for number, (name, version) in enumerate(ways.items()):
            taken = [
                (next_version_s(few, seed, version), next_version_s(many, seed, version))
                for seed in range(FIRST_SEED * (number + 1), FIRST_SEED * (number + 1) + wanted.repeats)
            ]
            for word, choose in (("best", min), ("median", statistics.median)):
                of_few, of_many = (choose(column) for column in zip(*taken, strict=True))
                rows.append((f"{name}, {word}", of_few, of_many, of_many / of_few))
    show(
        f"The next data version, {wanted.repeats} times in turn",
        ("", f"{wanted.few}. s", f"{wanted.many}. s", "ratio"),
        rows,
    )


if __name__ == "__main__":
    main()
