"""Writes a recording to its Parquet file, whose columns ``store.recordings`` describes and reads.

Row groups are encoded and written in a thread, while the features of the cycles after them are computed.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batteries.cycles import SCALARS, CycleScalars
from batteries.features import FEATURE_VERSION
from batteries.recordings import Recording
from store.recordings import ARRAYS, FEATURE_COLUMNS, RECORDED, SAMPLES, SAMPLES_OF, column

Floats = NDArray[np.floating]

TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("position", "cycle_index"), pa.int32()),
    **dict.fromkeys((*RECORDED, *SCALARS), pa.float64()),
    "complete": pa.bool_(),
    **dict.fromkeys(FEATURE_COLUMNS, pa.float32()),
    **dict.fromkeys(ARRAYS, SAMPLES),
}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in TYPES.items()])
ROWS_OF_PAGE = 20  # rows of a group: a page of cycles is one small read
LARGEST_GROUP = 1_000_000  # samples of an array
MOST_GROUPS = 250  # the footer grows with them: 5,000 cycles


def write(
    path: Path,
    recording: Recording,
    scalars: CycleScalars,
    features: Iterable[Floats],
    nominal_capacity_ah: float | None,
) -> None:
    """Write a recording with its scalars (N,) and features, (n, F) of some cycles after the other, to a new file."""
    known = scalars.columns()
    rows = rows_per_group(np.array([len(cycle) for cycle in recording.cycles]))
    plainly = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    with (
        pq.ParquetWriter(path, SCHEMA, compression="lz4", **plainly) as writer,
        ThreadPoolExecutor(max_workers=1) as beside,
    ):

        def write_group(start: int, of_cycles: Floats) -> None:
            writer.write_table(table(recording, known, start, of_cycles))

        groups = [
            beside.submit(write_group, number * rows, of_cycles)
            for number, of_cycles in enumerate(in_groups(features, rows))
        ]
        for group in groups:
            group.result()
        writer.add_key_value_metadata(
            {
                "layout": recording.layout,
                "cell": recording.cell or "",
                "feature_version": str(FEATURE_VERSION),
                "nominal_capacity_ah": to_text(nominal_capacity_ah),
                "discharge_cut_off_v": to_text(recording.discharge_cut_off_v),
            }
        )


def in_groups(features: Iterable[Floats], rows: int) -> Iterator[Floats]:
    """The same rows, so many at a time, and what is left at the end."""
    left = np.empty((0, len(FEATURE_COLUMNS)), dtype=np.float32)
    for some in features:
        left = np.concatenate([left, some], dtype=np.float32)
        while len(left) >= rows:
            yield left[:rows]
            left = left[rows:]
    if len(left):
        yield left


def table(recording: Recording, scalars: Mapping[str, NDArray[Any]], start: int, features: Floats) -> pa.Table:
    """The rows of the cycles from ``start`` on that have these features (n, F)."""
    end = start + len(features)
    cycles = recording.cycles[start:end]
    columns: dict[str, pa.Array] = {"position": column(np.arange(start, end, dtype=np.int32))}
    columns["cycle_index"] = column(np.array([cycle.index for cycle in cycles], dtype=np.int32))
    for name in RECORDED:
        columns[name] = column(np.array([getattr(cycle, name) for cycle in cycles], dtype=np.float64))
    for name, values in scalars.items():
        columns[name] = column(values[start:end])
    for name, values in zip(FEATURE_COLUMNS, features.T, strict=True):
        columns[name] = column(values)
    offsets = column(np.cumsum([0, *map(len, cycles)], dtype=np.int32))
    for name in ARRAYS:
        samples = np.concatenate([getattr(cycle, SAMPLES_OF[name]) for cycle in cycles], dtype=np.float32)
        columns[name] = pa.ListArray.from_arrays(offsets, column(samples), type=SAMPLES)
    return pa.Table.from_arrays(list(columns.values()), schema=SCHEMA)


def rows_per_group(lengths: NDArray[np.integer]) -> int:
    """Rows of a page, or of as few whole pages as make ``MOST_GROUPS``; fewer where cycles have so many samples that a
    group of them would be large.
    """  # noqa: D205
    count, mean_length = len(lengths), max(1.0, float(np.mean(lengths)))
    wanted = ROWS_OF_PAGE * max(1, -(-count // (MOST_GROUPS * ROWS_OF_PAGE)))
    return int(max(1, min(wanted, LARGEST_GROUP // mean_length)))


def to_text(number: float | None) -> str:
    """A number for the file's metadata; empty for none."""
    return "" if number is None else repr(float(number))
