"""What a parser does, in a process of its own that ``store.parser_template`` forks for it.

It limits itself before it looks at a byte of the file, writes the Parquet file that it was asked for, and answers with
what the rows need, or with what is wrong with the file.
"""

import json
import resource
import select
import socket
from pathlib import Path
from typing import Any

from batteries.cycles import cycle_scalars, misjudged_capacity_ah
from batteries.features import feature_blocks
from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import MatFileError, SeveralCells
from batteries.matfiles.reader import opened, recording_of
from batteries.recordings import Recording
from store import recording_writer, recordings

OPEN_FILES = 64

Order = dict[str, Any]


class Wanted:
    """What is wanted of a file: said in the order, or over its socket when all of an upload has arrived."""

    def __init__(self, order: Order, connection: socket.socket) -> None:
        self._said: Order | None = order.get("wanted")
        self._connection = connection

    def is_said(self, within_s: float | None) -> bool:
        """Whether it is known, after waiting so long for it."""
        if self._said is None and select.select([self._connection], [], [], within_s)[0]:
            with self._connection.makefile("rb") as lines:
                self._said = json.loads(lines.readline())
        return self._said is not None

    def get(self) -> Order:
        """It, when it has been said."""
        self.is_said(None)
        assert self._said is not None  # noqa: S101 - waited for
        return self._said


def perform(order: Order, connection: socket.socket) -> dict[str, Any]:
    """Do one order; what is wrong with the file is the answer's ``error``."""
    limit(order["memory_bytes"], order["cpu_s"], order["file_bytes"])
    try:
        return parse(order, Wanted(order, connection))
    except MatFileError as error:
        answer: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
        if isinstance(error, SeveralCells):
            answer["cells"] = error.cells
        return answer
    except MemoryError:
        message = f"Reading the file takes more than {order['memory_bytes'] // 1024**2} MB of memory"
        return {"error": "UnreadableFile", "message": message}


def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound this process for good. Memory is address space beyond what interpreter and libraries have mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def parse(order: Order, wanted: Wanted) -> dict[str, Any]:
    """Write the Parquet file; returns what the rows need."""
    source = Path(order["source"])
    return convert(recordings.read_recording(source) if order["kind"] == "parquet" else read(source, wanted), wanted)


def read(source: Path, wanted: Wanted) -> Recording:
    """The recording of a MAT-file that may still be arriving."""
    with opened(Arriving(source, wanted.is_said)) as variables:
        return recording_of(variables, wanted.get()["cell"])


def convert(recording: Recording, wanted: Wanted) -> dict[str, Any]:
    """Scalars and features of a recording, written to the target.

    The nominal capacity is the given one, else the layout's, else the best early capacity.
    """
    asked = wanted.get()
    given_nominal = asked["nominal_capacity"]
    layout_nominal = recording.nominal_capacity_ah or asked["layout_nominal_capacity"]
    nominal, source = given_nominal or layout_nominal, "given" if given_nominal else "layout"
    scalars = cycle_scalars(recording, nominal)
    misjudged = (
        misjudged_capacity_ah(recording, given_nominal) if given_nominal and not scalars.complete.any() else None
    )
    if nominal is None:
        nominal = scalars.nominal_capacity_ah
        source = "early cycles" if nominal else "unknown"
    features = feature_blocks(recording.cycles, nominal)
    recording_writer.write(Path(asked["target"]), recording, scalars, features, nominal)
    return {
        "total_cycles": len(recording.cycles),
        "nominal_capacity": nominal,
        "nominal_capacity_source": source,
        "layout_nominal_capacity": layout_nominal,
        "misjudged_capacity": misjudged,
        "layout": recording.layout,
        "cell": recording.cell,
        "manufacturer": recording.manufacturer,
        "chemistry": recording.chemistry,
        "report": recording.report.as_dict(),
    }
