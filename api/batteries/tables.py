"""Cycles as Arrow tables and as CSV: a row a cycle with its samples as lists, or in CSV a row a sample.

Built from buffers: Arrow's own conversions import pandas, which the API has no room for.
"""

from collections.abc import Callable, Iterable, Iterator
from io import RawIOBase
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from api.batteries.columns import WHOLE_NUMBERS, Selection
from api.batteries.formats import ARROW, ARROW_FILE, CSV, PARQUET, Format
from store.recordings import SAMPLES, numbers

LINES_AT_ONCE = 50_000  # of CSV: some megabytes of text
Scalars = dict[str, NDArray[np.float64]]  # (N,) each, NaN where unknown


class Writer(Protocol):
    """What Arrow's writers of all formats can."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write rows."""

    def close(self) -> None:
        """Write what comes after the rows."""


class Outgoing(RawIOBase):
    """A file that hands on what is written to it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """It is there for that."""
        return True

    def write(self, piece: Any) -> int:
        """Keep it until it is taken."""
        self._pieces.append(bytes(piece))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def parquet(file: Outgoing, schema: pa.Schema) -> Writer:
    """A writer of Parquet. Bytes of samples that lie together by significance are half as many when compressed."""
    samples = [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
    split = samples or False
    writer: Writer = pq.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=False, use_byte_stream_split=split
    )
    return writer


WRITERS: dict[Format, Callable[[Outgoing, pa.Schema], Writer]] = {
    ARROW: pa.ipc.new_stream,
    ARROW_FILE: pa.ipc.new_file,
    PARQUET: parquet,
    CSV: lambda file, schema: pyarrow.csv.CSVWriter(
        file, schema, write_options=pyarrow.csv.WriteOptions(quoting_header="none")
    ),
}


def encoded(selection: Selection, scalars: Scalars, samples: Iterable[pa.RecordBatch], kind: Format) -> Iterator[bytes]:
    """The file, piece by piece: one for each batch of samples, whose lists are in the order of the scalars.

    Without arrays in the selection there is one batch, of the scalars alone. No piece comes before the first batch.
    """
    file, at, count = Outgoing(), 0, len(next(iter(scalars.values()), ()))
    writer = WRITERS[kind](file, schema_of(selection, kind))
    for batch in samples if selection.arrays else ():
        part = {name: values[at : at + batch.num_rows] for name, values in scalars.items()}
        at += batch.num_rows
        for written in long_batches(selection, part, batch) if kind is CSV else [wide_batch(selection, part, batch)]:
            writer.write_batch(written)
            yield file.take()
    if not selection.arrays and count:
        writer.write_batch(wide_batch(selection, scalars, None))
    writer.close()
    yield file.take()


def schema_of(selection: Selection, kind: Format) -> pa.Schema:
    """Names and types: whole numbers int64, other scalars float64 with nulls, samples float32, lists but in CSV."""
    samples = pa.float32() if kind is CSV else SAMPLES
    types = [(name, scalar_type(name)) for name in selection.scalars] + [(name, samples) for name in selection.arrays]
    return pa.schema(types)


def scalar_type(name: str) -> pa.DataType:
    """The type of a scalar column."""
    if name in WHOLE_NUMBERS:
        return pa.int64()
    return pa.bool_() if name == "complete" else pa.float64()


def wide_batch(selection: Selection, scalars: Scalars, samples: pa.RecordBatch | None) -> pa.RecordBatch:
    """A row a cycle; samples stay as they were read, NaN where the file has none."""
    arrays = [nullable(scalars[name], scalar_type(name)) for name in selection.scalars]
    if samples is not None:
        lists = [samples.column(name) for name in selection.arrays]
        arrays += [pa.ListArray.from_arrays(found.offsets, found.values, type=SAMPLES) for found in lists]
    return pa.RecordBatch.from_arrays(arrays, [*selection.scalars, *selection.arrays])


def long_batches(selection: Selection, scalars: Scalars, samples: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Rows of one sample each, with their cycle's scalars; empty where the file has none. Some lines at a time."""
    lists = [samples.column(name) for name in selection.arrays]
    ends = np.cumsum(np.diff(numbers(lists[0].offsets)))
    for start in range(0, int(ends[-1]) if len(ends) else 0, LINES_AT_ONCE):
        cycle = np.searchsorted(ends, np.arange(start, min(start + LINES_AT_ONCE, ends[-1])), side="right")
        arrays = [nullable(scalars[name][cycle], scalar_type(name)) for name in selection.scalars]
        arrays += [nullable(numbers(column.flatten().slice(start, len(cycle))), pa.float32()) for column in lists]
        yield pa.RecordBatch.from_arrays(arrays, [*selection.scalars, *selection.arrays])


def nullable(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Numbers as Arrow has them, NaN as null."""
    known = np.isfinite(values)
    validity = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    if pa.types.is_boolean(kind):
        data = np.packbits(values == 1, bitorder="little")
    elif pa.types.is_integer(kind):
        data = np.where(known, values, 0).astype(np.int64)
    else:
        data = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
