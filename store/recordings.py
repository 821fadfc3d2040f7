"""Recordings on disk: ``cycles/{id}.parquet`` below a data folder, one row a cycle in the order of measurement.

Columns: ``position`` (row number), ``cycle_index`` (as recorded), ``recorded_capacity_ah`` and ``capacity_ah``
(float64, NaN where unknown), ``f_<name>`` (float32, NaN where unknown) for every feature, then lists of float32:
``time`` (s), ``voltage`` (V), ``current`` (A, positive on charge), ``temperature`` (°C), NaN where the file has none.
The schema's metadata holds the layout, the cell, the feature version and the nominal capacity that scaled the features.

This module knows folders, not settings: the process that parses uploads imports it and has to start fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batteries.features import FEATURE_NAMES, FEATURE_VERSION
from batteries.recordings import Cycle, Recording

Floats = NDArray[np.floating]
Arrays = dict[str, list[NDArray[np.float32]]]

ARRAYS = ("time", "voltage", "current", "temperature")
SHOWN = ("voltage", "current", "temperature")
SAMPLES_OF = dict(zip(ARRAYS, ("time_s", "voltage_v", "current_a", "temperature_c"), strict=True))
FEATURE_COLUMNS = tuple(f"f_{name}" for name in FEATURE_NAMES)
SMALLEST_GROUP = 20  # rows: a page of cycles is one small read
NUMPY_TYPES = {"int32": np.int32, "float": np.float32, "double": np.float64}
MOST_GROUPS = 100  # the footer grows with them and is read every time


class StaleFeatures(Exception):
    """The file's features are of another feature version: they have to be computed again."""


def path_of(data: Path, battery_id: int) -> Path:
    """The battery's Parquet file in a data folder."""
    return data / "cycles" / f"{battery_id}.parquet"


def write(
    path: Path, recording: Recording, capacity_ah: Floats, features: Floats, nominal_capacity_ah: float | None
) -> None:
    """Write a recording with its capacities (N,) in Ah and features (N, F) to a new Parquet file."""
    count = len(recording.cycles)
    columns: dict[str, pa.Array] = {
        "position": column(np.arange(count, dtype=np.int32)),
        "cycle_index": column(np.array([cycle.index for cycle in recording.cycles], dtype=np.int32)),
        "recorded_capacity_ah": column(np.array([c.recorded_capacity_ah for c in recording.cycles], dtype=np.float64)),
        "capacity_ah": column(np.asarray(capacity_ah, dtype=np.float64)),
    }
    for name, values in zip(FEATURE_COLUMNS, np.asarray(features, dtype=np.float32).T, strict=True):
        columns[name] = column(values)
    lengths = np.array([len(cycle) for cycle in recording.cycles])
    offsets = column(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    for name in ARRAYS:
        samples = np.concatenate([getattr(cycle, SAMPLES_OF[name]) for cycle in recording.cycles], dtype=np.float32)
        columns[name] = pa.ListArray.from_arrays(offsets, column(samples))
    metadata = {
        "layout": recording.layout,
        "cell": recording.cell or "",
        "feature_version": str(FEATURE_VERSION),
        "nominal_capacity_ah": "" if nominal_capacity_ah is None else repr(nominal_capacity_ah),
    }
    pq.write_table(
        pa.Table.from_arrays(list(columns.values()), list(columns), metadata=metadata),
        path,
        row_group_size=max(SMALLEST_GROUP, -(-count // MOST_GROUPS)),
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
    )


# pa.array, to_numpy and read_table would do, but import pandas: half a second, and 60 MB in the API for good.


def column(values: NDArray[Any]) -> pa.Array:
    """An array of numbers for Arrow, sharing its memory."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def numbers(array: pa.Array) -> NDArray[Any]:
    """An Arrow array of numbers without nulls for numpy, sharing its memory."""
    dtype = NUMPY_TYPES[str(array.type)]
    if not len(array):  # it may have no buffer
        return np.empty(0, dtype=dtype)
    values = np.frombuffer(array.buffers()[1], dtype=dtype)
    return values[array.offset : array.offset + len(array)]


def numbers_of(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of numbers (N,)."""
    return np.concatenate([numbers(chunk) for chunk in table.column(name).chunks])


def metadata_of(file: pq.ParquetFile) -> dict[str, str]:
    """The schema's own metadata, as text."""
    found: dict[bytes, bytes] = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def read_rows(file: pq.ParquetFile, positions: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Those rows, in the order given, of the columns asked for; only the row groups that hold them are read."""
    rows_per_group = file.metadata.row_group(0).num_rows
    groups = sorted({position // rows_per_group for position in positions})
    table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
    first_row = {group: number * rows_per_group for number, group in enumerate(groups)}
    wanted = [first_row[position // rows_per_group] + position % rows_per_group for position in positions]
    if wanted == list(range(wanted[0], wanted[0] + len(wanted))):
        return table.slice(wanted[0], len(wanted))
    return table.take(column(np.array(wanted)))


def cycle_arrays(data: Path, battery_id: int, positions: Sequence[int], columns: Sequence[str] = SHOWN) -> Arrays:
    """Samples of the cycles at these positions: for each column a float32 array a cycle, NaN where the file has none.

    The arrays are views of what was read; orjson writes them as they are, NaN as null.
    Raises FileNotFoundError when there is no such battery.
    """
    if not positions:
        return {name: [] for name in columns}
    with pq.ParquetFile(path_of(data, battery_id)) as file:
        table = read_rows(file, positions, columns)
    return {name: arrays_of(table.column(name)) for name in columns}


def arrays_of(column: pa.ChunkedArray) -> list[NDArray[np.float32]]:
    """A column of lists as one array a row."""
    rows: list[NDArray[np.float32]] = []
    for chunk in column.chunks:
        values, ends = numbers(chunk.values), numbers(chunk.offsets)
        rows += [values[start:end] for start, end in pairwise(ends)]
    return rows


@dataclass(frozen=True, eq=False)
class Window:
    """The last T cycles up to one asked about."""

    cycle_index: NDArray[np.int32]  # (T,) as recorded
    features: NDArray[np.float32]  # (T, F), NaN where unknown


def latest_window(data: Path, battery_id: int, length: int, position: int | None = None) -> Window:
    """Features of at most ``length`` cycles that end at ``position`` (the last one when left out).

    Raises FileNotFoundError for no such battery, IndexError for no such position, StaleFeatures.
    """
    with pq.ParquetFile(path_of(data, battery_id)) as file:
        count = file.metadata.num_rows
        last = count - 1 if position is None else position
        if not 0 <= last < count:
            raise IndexError(f"battery {battery_id} has {count} cycles, none at position {last}")
        require_current_features(file, battery_id)
        table = read_rows(file, range(max(0, last + 1 - length), last + 1), ("cycle_index", *FEATURE_COLUMNS))
    return Window(numbers_of(table, "cycle_index"), feature_matrix(table))


def require_current_features(file: pq.ParquetFile, battery_id: int) -> None:
    """Raise StaleFeatures when the file's features are not those of this version of the platform."""
    version = metadata_of(file).get("feature_version")
    if version != str(FEATURE_VERSION):
        raise StaleFeatures(f"battery {battery_id} has features of version {version}, not {FEATURE_VERSION}")


def feature_matrix(table: pa.Table) -> NDArray[np.float32]:
    """Feature columns (N, F) of a table, in the order of FEATURE_NAMES."""
    return np.column_stack([numbers_of(table, name) for name in FEATURE_COLUMNS])


def read_recording(path: Path) -> Recording:
    """The recording that a Parquet file holds, so that features can be computed again.

    Samples are as float32 kept them. Nominal capacity, manufacturer, chemistry and report are not kept here: empty.
    """
    with pq.ParquetFile(path) as file:
        table = file.read(columns=["cycle_index", "recorded_capacity_ah", *ARRAYS], use_threads=False)
        metadata = metadata_of(file)
    samples = [arrays_of(table.column(name)) for name in ARRAYS]
    indices, recorded = (numbers_of(table, name).tolist() for name in ("cycle_index", "recorded_capacity_ah"))
    cycles = tuple(
        Cycle(index, time_s, voltage_v, current_a, temperature_c, None if np.isnan(capacity) else capacity)
        for index, capacity, time_s, voltage_v, current_a, temperature_c in zip(
            indices, recorded, *samples, strict=True
        )
    )
    return Recording(cycles=cycles, layout=metadata["layout"], cell=metadata["cell"] or None)


def scalars(path: Path) -> dict[str, Any]:
    """``cycle_index`` (N,) and ``capacity_ah`` (N,), NaN where unknown, of a Parquet file."""
    with pq.ParquetFile(path) as file:
        table = file.read(columns=["cycle_index", "capacity_ah"], use_threads=False)
    return {name: numbers_of(table, name) for name in ("cycle_index", "capacity_ah")}
