"""How soon the API answers, how much memory it takes, and that nothing heavy is in it.

python benchmarks/api_footprint.py
"""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
from measuring import CHECKOUT, api_alone, best_of, shared_data, show, signed_in, temporary_home, upload

HEAVY = ("torch", "lightning", "pytorch_lightning", "mlflow", "prefect", "dvc", "bentoml", "pandas", "scipy", "h5py")
FORBIDDEN = HEAVY[:7]
TELL_MODULES = """
import runpy, signal, sys
from pathlib import Path
def tell(*_):
    Path({path!r}).write_text("\\n".join(sys.modules))
signal.signal(signal.SIGUSR1, tell)
runpy.run_module("api", run_name="__main__")
"""


def modules_of(pid: int, path: Path) -> set[str]:
    """Names of the top-level modules that the process has imported."""
    os.kill(pid, signal.SIGUSR1)
    while not path.exists():
        time.sleep(0.05)
    time.sleep(0.2)
    return {name.partition(".")[0] for name in path.read_text().split()}


def main() -> None:
    """Start the API several times; use the last one."""
    starts = []
    for _ in range(3):
        with temporary_home() as home, api_alone(home) as (_, _, seconds):
            starts.append(seconds)
    with temporary_home() as home:
        names = home / "modules"
        with api_alone(home, ("-c", TELL_MODULES.format(path=str(names)))) as (root, pid, _):
            process = psutil.Process(pid)
            rows = [["first answer on a new home, best of 3", f"{min(starts):.2f} s"]]
            rows.append(["resident memory, idle", mebibytes(process)])
            session = signed_in(root)
            data = shared_data()
            if data is not None:
                for _ in range(3):
                    made = upload(session, root, data / "nasa" / "B0005.mat")
                rows.append(["… after three uploads of 16 MB", mebibytes(process)])
                page = f"{root}/batteries/{made['id']}/cycles?page_size=100"
                best_of(10, lambda: session.get(page, timeout=60).raise_for_status())
                rows.append(["… after ten pages of 100 cycles", mebibytes(process)])
            best_of(300, lambda: session.get(f"{root}/batteries", timeout=60).raise_for_status())
            rows.append(["… after 300 lists", mebibytes(process)])
            found = modules_of(pid, names)
    rows += [[f"module {name}", "IMPORTED" if name in found else "absent"] for name in HEAVY]
    show("The API process", ("what", "measured"), rows)
    wrong = sorted(found & set(FORBIDDEN))
    print("None of", ", ".join(FORBIDDEN), "is imported." if not wrong else f"but: {wrong}")


def mebibytes(process: psutil.Process) -> str:
    """Resident memory of a process."""
    return f"{process.memory_info().rss / 2**20:.0f} MiB"


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.path.insert(0, str(CHECKOUT))
    main()
