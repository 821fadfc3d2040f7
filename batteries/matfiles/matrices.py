"""Matrices with a row or a column for each cycle, shorter cycles filled up with NaN or zeros."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from batteries.matfiles.entries import Floats, Record
from batteries.matfiles.places import constant
from batteries.matfiles.tree import Numbers


@dataclass(frozen=True)
class Grid:
    """A shape, and which of its axes the samples of a cycle run along."""

    shape: tuple[int, int]
    samples_axis: int

    @property
    def samples(self) -> int:
        """Length of the longest cycle."""
        return self.shape[self.samples_axis]

    @property
    def cycles(self) -> int:
        """Number of cycles."""
        return self.shape[1 - self.samples_axis]


def grid(fields: Record, columns: Mapping[str, str]) -> Grid | None:
    """How voltage and current are laid out if they are matrices of one shape; None if they are not.

    Vectors beside them tell the axes: a time as long as a cycle, a number for each cycle. Else a cell's voltage differs
    more within a cycle than between cycles.
    """
    voltage, current = (fields[columns[name]] for name in ("voltage_v", "current_a"))
    if not (isinstance(voltage, Numbers) and isinstance(current, Numbers)) or voltage.shape != current.shape:
        return None
    if len(voltage.shape) != 2 or min(voltage.shape) < 2:
        return None
    shape = (voltage.shape[0], voltage.shape[1])
    if shape[0] != shape[1]:
        for column, along in (("time_s", 0), ("cycle_index", 1), ("discharged_ah", 1), ("capacity_ah", 1)):
            node = fields.get(columns.get(column, ""))
            if isinstance(node, Numbers) and node.is_vector and node.size in shape:
                at = shape.index(node.size)
                return Grid(shape, at if along == 0 else 1 - at)
    values = voltage.read().reshape(shape, order="F")
    spans = [_span(values, axis) for axis in (0, 1)]
    return Grid(shape, int(np.argmax(spans)))


def _span(values: Floats, axis: int) -> float:
    """How much the voltage typically varies along an axis."""
    known = np.where((values == 0) | ~np.isfinite(values), np.nan, values)
    filled = np.isfinite(known).sum(axis=axis) > 1
    lines = np.compress(filled, known, axis=1 - axis)
    if not lines.size:
        return 0.0
    return float(np.median(np.nanmax(lines, axis=axis) - np.nanmin(lines, axis=axis)))


def records(fields: Record, columns: Mapping[str, str], grid: Grid) -> Iterator[Record]:
    """A record for each cycle, without what fills it up at its end."""
    matrices: dict[str, Floats] = {}
    shared: dict[str, Floats] = {}
    single: dict[str, Floats] = {}
    for name in columns.values():
        node = fields[name]
        if not isinstance(node, Numbers):
            continue
        if node.shape == grid.shape:
            whole = node.read().reshape(grid.shape, order="F")
            matrices[name] = whole.T if grid.samples_axis == 0 else whole
        elif node.is_vector and node.size == grid.samples:
            shared[name] = node.read()
        elif node.is_vector and node.size == grid.cycles:
            single[name] = node.read()
    voltage, current = matrices[columns["voltage_v"]], matrices[columns["current_a"]]
    there = np.isfinite(voltage) & (voltage != 0.0) & np.isfinite(current)
    for at in range(grid.cycles):
        known = np.flatnonzero(there[at])
        length = int(known[-1]) + 1 if known.size else 0
        record = {name: constant(rows[at, :length]) for name, rows in matrices.items()}
        record |= {name: constant(values[:length]) for name, values in shared.items()}
        yield record | {name: constant(values[at : at + 1]) for name, values in single.items()}
