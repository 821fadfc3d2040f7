"""Recordings on disk: ``cycles/{id}.parquet`` below a data folder, one row a cycle in the order of measurement.

Columns: ``position`` (row number), ``cycle_index`` (as recorded), what else the file recorded (``recorded_…``), the
scalars of ``batteries.cycles`` by their names there (float64, ``complete`` a boolean), then ``f_<name>`` (float32) for
every feature, then lists of float32: ``time`` (s), ``voltage`` (V), ``current`` (A, positive on charge),
``temperature`` (°C). Unknown numbers are NaN. The file's metadata holds the layout, the cell, the feature version, the
cut-off voltage, and the nominal capacity that scaled the features.

This module knows folders, not settings: the process that parses uploads imports it and has to start fast.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache
from numpy.typing import NDArray

from batteries.cycles import SCALARS
from batteries.features import FEATURE_NAMES, FEATURE_VERSION
from batteries.recordings import FACTS, Cycle, Recording

Floats = NDArray[np.floating]
Arrays = dict[str, list[NDArray[np.float32]]]

ARRAYS = ("time", "voltage", "current", "temperature")
SHOWN = ("voltage", "current", "temperature")
SAMPLES_OF = dict(zip(ARRAYS, ("time_s", "voltage_v", "current_a", "temperature_c"), strict=True))
SAMPLES = pa.list_(pa.field("element", pa.float32(), nullable=False))  # without nulls they read in half the time
FEATURE_COLUMNS = tuple(f"f_{name}" for name in FEATURE_NAMES)
RECORDED = tuple(name for name in FACTS if name != "index")
NUMPY_TYPES = {"int32": np.int32, "float": np.float32, "double": np.float64}
KEPT_FOOTER_BYTES = 1_250_000  # as they are written; in memory they are some 15 times as large


_lock = Lock()
_footers: "LRUCache[tuple[Path, tuple[int, ...]], pq.FileMetaData]" = LRUCache(
    KEPT_FOOTER_BYTES, getsizeof=lambda kept: kept.serialized_size
)


class StaleFeatures(Exception):
    """The file's features are of another feature version: they have to be computed again."""


def path_of(data: Path, battery_id: int) -> Path:
    """The battery's Parquet file in a data folder."""
    return data / "cycles" / f"{battery_id}.parquet"


# pa.array, to_numpy and read_table would do, but import pandas: half a second, and 60 MB in the API for good.


def column(values: NDArray[Any]) -> pa.Array:
    """An array of numbers for Arrow, sharing its memory."""
    values = np.ascontiguousarray(values)
    if values.dtype == bool:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def numbers(array: pa.Array) -> NDArray[Any]:
    """An Arrow array of numbers without nulls for numpy, sharing its memory; booleans are copied."""
    if pa.types.is_boolean(array.type):
        bits = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[array.offset : array.offset + len(array)].astype(bool)
    dtype = NUMPY_TYPES[str(array.type)]
    if not len(array):  # it may have no buffer
        return np.empty(0, dtype=dtype)
    values = np.frombuffer(array.buffers()[1], dtype=dtype)
    return values[array.offset : array.offset + len(array)]


def numbers_of(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of numbers (N,)."""
    return np.concatenate([numbers(chunk) for chunk in table.column(name).chunks])


def metadata_of(file: pq.ParquetFile) -> dict[str, str]:
    """The file's own metadata, as text."""
    found: dict[bytes, bytes] = file.metadata.metadata or {}
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
    if not positions or not columns:
        return {name: [] for name in columns}
    with opened(path_of(data, battery_id)) as file:
        table = read_rows(file, positions, columns)
    return {name: arrays_of(table.column(name)) for name in columns}


def batches(data: Path, battery_id: int, positions: Sequence[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The same as Arrow lists, for many cycles: one row group is in memory at a time.

    Raises FileNotFoundError when there is no such battery, before the first batch.
    """
    with opened(path_of(data, battery_id)) as file:
        rows_per_group = file.metadata.row_group(0).num_rows
        for _, together in groupby(positions, lambda position: position // rows_per_group):
            yield from read_rows(file, list(together), columns).to_batches()


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file. Its footer, which takes longer to parse than a page to read, is kept for the next time."""
    while True:
        before = identity(path)
        with pa.OSFile(str(path)) as source:
            if identity(path) != before:
                continue  # renamed over in between: the footer would be another file's
            with pq.ParquetFile(source, metadata=footer(path, before)) as file:
                yield file
            return


def identity(path: Path) -> tuple[int, ...]:
    """What changes whenever another file takes a path's place. Raises FileNotFoundError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def footer(path: Path, of_file: tuple[int, ...]) -> pq.FileMetaData:
    """The footer of the file that has this identity."""
    with _lock:
        if (kept := _footers.get((path, of_file))) is not None:
            return kept
    read = pq.read_metadata(path)
    if read.serialized_size <= KEPT_FOOTER_BYTES:
        with _lock:
            _footers[path, of_file] = read
    return read


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
    with opened(path_of(data, battery_id)) as file:
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
    """The recording that a Parquet file holds, so that everything can be computed again.

    Samples are as float32 kept them. Nominal capacity, manufacturer, chemistry and report are not kept here: empty.
    """
    with pq.ParquetFile(path) as file:
        kept = [name for name in RECORDED if name in file.schema_arrow.names]
        table = file.read(columns=["cycle_index", *kept, *ARRAYS], use_threads=False)
        metadata = metadata_of(file)
    indices = numbers_of(table, "cycle_index").tolist()
    samples = zip(*(arrays_of(table.column(name)) for name in ARRAYS), strict=True)
    facts = zip(*(or_none(numbers_of(table, name)) for name in kept), strict=True)
    cycles = tuple(
        replace(Cycle(index, *of_cycle), **dict(zip(kept, known, strict=True)))
        for index, of_cycle, known in zip(indices, samples, facts, strict=True)
    )
    cut_off = metadata.get("discharge_cut_off_v")
    return Recording(
        cycles=cycles,
        layout=metadata["layout"],
        cell=metadata["cell"] or None,
        discharge_cut_off_v=float(cut_off) if cut_off else None,
    )


def or_none(values: NDArray[Any]) -> list[Any]:
    """Plain numbers, None for NaN."""
    return [value if known else None for value, known in zip(values.tolist(), np.isfinite(values), strict=True)]


def scalars(path: Path) -> dict[str, NDArray[Any]]:
    """``cycle_index`` (N,) and the scalars of ``batteries.cycles`` (N,) of a Parquet file.

    All are float64 and NaN where unknown, ``complete`` too: files of earlier releases have ``capacity_ah`` alone.
    """
    with pq.ParquetFile(path) as file:
        kept = [name for name in SCALARS if name in file.schema_arrow.names]
        table = file.read(columns=["cycle_index", *kept], use_threads=False)
    unknown = np.full(table.num_rows, np.nan)
    known = {name: numbers_of(table, name).astype(np.float64) for name in kept}
    return {"cycle_index": numbers_of(table, "cycle_index")} | {name: known.get(name, unknown) for name in SCALARS}
