"""From a fresh clone to the tutorial's prediction: ``./battery demo --exit`` with nothing installed before.

    python benchmarks/cold_demo.py

Clones this checkout (what is committed) into an empty folder and runs the command there on free ports, with pip's cache
turned off, so that packages come from the index; a package index must be reachable.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import CHECKOUT, free_ports, show


def main() -> None:
    """Time the demo on a clone, then again on the same clone."""
    names = ("API", "MLFLOW", "PREFECT", "SERVING")
    ports = {f"BATTERY_{name}_PORT": str(port) for name, port in zip(names, free_ports(4), strict=True)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BATTERY_", "VIRTUAL_ENV"))}
    environment = inherited | ports | {"PIP_NO_CACHE_DIR": "1"}
    rows = []
    with tempfile.TemporaryDirectory(prefix="battery-cold-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], check=True)
        for name in ("cold, with all packages installed", "the same clone again"):
            began = time.perf_counter()
            done = subprocess.run(["./battery", "demo", "--exit"], cwd=clone, env=environment, check=False)
            rows.append([name, time.perf_counter() - began, done.returncode])
    show("./battery demo --exit", ("run", "seconds", "status"), rows)
    sys.exit(max(int(str(status)) for *_, status in rows))


if __name__ == "__main__":
    main()
