"""The process that reads an uploaded file: ``python -m store.parse_upload``, started by ``store.parser``.

It reads its order from stdin (JSON), limits itself before it looks at a byte of the file, writes the Parquet file that
it was asked for, and prints a summary (JSON). What is wrong with the file is printed as an error, status 3. It imports
little, because every upload waits for it to start.
"""

import ctypes
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from batteries.cycles import discharge_capacities_ah, early_capacity_ah
from batteries.features import cycle_features
from batteries.matfiles.errors import MatFileError, SeveralCells
from batteries.recordings import Recording
from store import recordings

REFUSED = 3
PR_SET_PDEATHSIG = 1  # Linux: whoever waits for this process takes it along when killed
OPEN_FILES = 64


def main() -> int:
    """Do one order."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    order = json.load(sys.stdin)
    limit(order["memory_bytes"], order["cpu_s"], order["file_bytes"])
    try:
        answer = parse(order)
    except MatFileError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
        if isinstance(error, SeveralCells):
            answer["cells"] = error.cells
    except MemoryError:
        answer = {
            "error": "UnreadableFile",
            "message": f"Reading the file takes more than {order['memory_bytes'] // 1024**2} MB of memory",
        }
    json.dump(answer, sys.stdout)
    return REFUSED if "error" in answer else 0


def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound this process for good. Memory is address space beyond what interpreter and libraries have mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def parse(order: dict[str, Any]) -> dict[str, Any]:
    """Write the Parquet file; returns what the rows need."""
    source = Path(order["source"])
    if order["kind"] == "parquet":
        recording = recordings.read_recording(source)
    else:
        from batteries.matfiles.reader import read

        recording = read(source, order["cell"])
    return convert(recording, Path(order["target"]), order["nominal_capacity"], order["layout_nominal_capacity"])


def convert(
    recording: Recording, target: Path, given_nominal: float | None, layout_nominal: float | None
) -> dict[str, Any]:
    """Capacities and features of a recording, written to ``target``.

    The nominal capacity is the given one, else the layout's, else the best early capacity.
    """
    layout_nominal = recording.nominal_capacity_ah or layout_nominal
    nominal, source = given_nominal or layout_nominal, "given" if given_nominal else "layout"
    capacity_ah = discharge_capacities_ah(recording, nominal)
    if nominal is None:
        nominal = early_capacity_ah(capacity_ah)
        source = "early cycles" if nominal else "unknown"
    features = np.array([cycle_features(cycle, nominal) for cycle in recording.cycles], dtype=np.float32)
    recordings.write(target, recording, capacity_ah, features, nominal)
    return {
        "total_cycles": len(recording.cycles),
        "nominal_capacity": nominal,
        "nominal_capacity_source": source,
        "layout_nominal_capacity": layout_nominal,
        "layout": recording.layout,
        "cell": recording.cell,
        "manufacturer": recording.manufacturer,
        "chemistry": recording.chemistry,
        "report": recording.report.as_dict(),
    }


if __name__ == "__main__":
    sys.exit(main())
