"""The door: a MAT-file in, a Recording out. The layout is recognised from what the file holds, never from its name."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles import generic, layouts
from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import NoCycles, SeveralCells, UnreadableFile
from batteries.matfiles.layout import Cell, Layout
from batteries.matfiles.level5 import read_level5
from batteries.matfiles.tree import Other, Struct, describe
from batteries.recordings import SAMPLE_COLUMNS, Cycle, Recording

HEAD_BYTES = 1024
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
OTHER_FILES = {
    b"\x89PNG": "a PNG image",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"PAR1": "a Parquet file",
}
MESSAGE_VARIABLES = 10
PLAIN_KINDS = frozenset({"MATLAB sparse matrix", "MATLAB function handle", "MATLAB function_handle"})


def read(path: Path, cell: int | None = None) -> Recording:
    """Read one cell's cycles from a MAT-file of level 5 or v7.3.

    `cell` is the 0-based number of the cell where a file holds several. Limits on memory and time of the process are
    the caller's.

    Raises:
        UnreadableFile: not a MAT-file, damaged, or beyond the limits.
        NoCycles: a MAT-file without battery cycles in a layout that is read; the message says what was found.
        SeveralCells: several cells and no `cell`, or a `cell` that is not there.
    """
    with opened(Arriving(path)) as variables:
        return recording_of(variables, cell)


@contextmanager
def opened(file: Arriving) -> Iterator[Struct]:
    """The variables of a file as the fields of one struct, readable while the context lasts.

    Of level 5, as much is done while the file arrives as can be.

    Raises:
        UnreadableFile: as in `read`.
    """
    with closing(file):
        if not _is_hdf5(file):
            yield read_level5(file)
            return
        from batteries.matfiles.v73 import read_v73  # here: h5py takes longer to import than most files to read

        file.size()  # all of it has arrived
        with read_v73(file.path) as variables:
            yield variables


def _is_hdf5(file: Arriving) -> bool:
    """Whether the file is v7.3; False for level 5.

    Raises:
        UnreadableFile: it is neither.
    """
    head = file.read(0, HEAD_BYTES)
    if not head:
        raise UnreadableFile("the file is empty")
    if any(head[at : at + 8] == HDF5_SIGNATURE for at in (0, 512)):
        return True
    if head[124:128] in {b"\x00\x01IM", b"\x01\x00MI"}:
        return False
    for start, kind in OTHER_FILES.items():
        if head.startswith(start):
            raise UnreadableFile(f"not a MAT-file: this is {kind}")
    raise UnreadableFile("not a MAT-file of level 5 (v6, v7) or v7.3: the header is missing")


@cache
def known_layouts() -> tuple[Layout, ...]:
    """Every layout in the package `layouts`, and the generic one, which is asked last."""
    names = sorted(module.name for module in iter_modules(layouts.__path__))
    found: list[Layout] = [import_module(f"{layouts.__name__}.{name}").LAYOUT for name in names]
    return (*found, generic.LAYOUT)


def recording_of(variables: Struct, cell: int | None) -> Recording:
    """One cell of a file by the first layout that recognises it and finds cycles in it.

    Raises:
        NoCycles, SeveralCells: as in `read`; UnreadableFile: an array turns out to be damaged.
    """
    reasons: list[str] = []
    for layout in known_layouts():
        cells = layout.cells(variables)
        if cells:
            try:
                with np.errstate(all="ignore"):  # a damaged file may hold any bits as numbers
                    return _finite(_chosen(cells, cell).read())
            except NoCycles as reason:
                reasons.append(str(reason))
    why = reasons[0] if reasons else "no battery cycles found."
    raise NoCycles(f"{why} {_found(variables)} {_layouts()}")


def _finite(recording: Recording) -> Recording:
    """The recording with its infinities unknown, which the report then says.

    Raises:
        NoCycles: not one sample has a voltage and a current.
    """
    if not any(np.isfinite(cycle.voltage_v + cycle.current_a).any() for cycle in recording.cycles):
        raise NoCycles(f"{recording.cell} has cycles, but no sample with voltage and current.")
    finite = [cycle if all(map(_has_no_infinity, _columns(cycle))) else _known(cycle) for cycle in recording.cycles]
    count = sum(
        int(np.isinf(column).sum())
        for cycle, kept in zip(recording.cycles, finite, strict=True)
        if cycle is not kept
        for column in _columns(cycle)
    )
    if not count:
        return recording
    repaired = (*recording.report.repaired, f"{count} infinite values are unknown now")
    return replace(recording, cycles=tuple(finite), report=replace(recording.report, repaired=repaired))


def _columns(cycle: Cycle) -> tuple[NDArray[np.float64], ...]:
    return tuple(getattr(cycle, name) for name in SAMPLE_COLUMNS)


def _has_no_infinity(column: NDArray[np.float64]) -> bool:
    """Whether a column has no infinity: its sum has none then, unless it overflows, which is looked at more closely."""
    return bool(np.isfinite(column.sum())) or not np.isinf(column).any()


def _known(cycle: Cycle) -> Cycle:
    columns: dict[str, Any] = {
        name: np.where(np.isinf(column), np.nan, column)
        for name, column in zip(SAMPLE_COLUMNS, _columns(cycle), strict=True)
    }
    return replace(cycle, **columns)


def _chosen(cells: Sequence[Cell], cell: int | None) -> Cell:
    names = tuple(found.name for found in cells)
    listed = ", ".join(f"{at}: {name}" for at, name in enumerate(names))
    if cell is None and len(cells) > 1:
        raise SeveralCells(f"the file holds {len(cells)} cells; choose one with the field 'cell' ({listed})", names)
    if cell is not None and not 0 <= cell < len(cells):
        raise SeveralCells(f"there is no cell {cell} in the file; it holds {len(cells)} ({listed})", names)
    return cells[cell or 0]


def _found(variables: Struct) -> str:
    names = list(variables.fields)
    if not names:
        return "The file holds no variables."
    shown = "; ".join(f"{name[:63]}: {describe(variables.fields[name][0])}" for name in names[:MESSAGE_VARIABLES])
    more = f" and {len(names) - MESSAGE_VARIABLES} more" if len(names) > MESSAGE_VARIABLES else ""
    return f"Found {shown}{more}.{_advice(variables)}"


def _advice(variables: Struct) -> str:
    """What to do about MATLAB objects, which only MATLAB can read."""
    nodes = [variables.fields[name][0] for name in list(variables.fields)[:MESSAGE_VARIABLES]]
    inside = [node.fields[name][0] for node in nodes if isinstance(node, Struct) and node.count for name in node.fields]
    kinds = {node.kind for node in (*nodes, *inside) if isinstance(node, Other)}
    objects = sorted(kind for kind in kinds if kind.startswith("MATLAB ") and kind not in PLAIN_KINDS)
    if not objects:
        return ""
    return (
        f" {', '.join(objects)}: such objects are stored in a form that only MATLAB reads. Save plain arrays, for a "
        "table T as s = table2struct(T, 'ToScalar', true); save('cell.mat', '-struct', 's')."
    )


def _layouts() -> str:
    names = ", ".join(layout.name for layout in known_layouts())
    return f"Layouts that are read: {names}; docs/formats.md describes them."
