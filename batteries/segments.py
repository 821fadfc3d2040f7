"""Many cycles at once: their samples one after the other, and sums over each cycle.

A whole recording is worked on in blocks that stay in a processor's cache, so that the cost of a cycle is that of its
samples and not that of calling numpy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from batteries.recordings import SAMPLE_COLUMNS, Cycle

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)

SECONDS_PER_HOUR = 3600.0
BLOCK_SAMPLES = 1 << 17
UNWATCHED_S = 600.0  # and longer than usual by far: nobody logged what flowed between two samples
USUAL_SHARE = 0.9  # of the intervals of a cycle are no longer than the usual one
UNUSUAL = 10.0  # times the usual interval


@dataclass(frozen=True, eq=False)
class Segments:
    """Samples (n,) of N segments that lie one after the other. None of them is empty."""

    time_s: Floats
    voltage_v: Floats
    current_a: Floats
    temperature_c: Floats
    lengths: Places  # (N,)

    @cached_property
    def starts(self) -> Places:
        """Position (N,) of each segment's first sample."""
        return np.asarray(np.cumsum(self.lengths) - self.lengths)

    @cached_property
    def lasts(self) -> Places:
        """Position (N,) of each segment's last sample."""
        return np.asarray(np.cumsum(self.lengths) - 1)

    @cached_property
    def owner(self) -> Places:
        """The segment (n,) that each sample belongs to."""
        return np.repeat(np.arange(self.lengths.size), self.lengths)

    @cached_property
    def steps_s(self) -> Floats:
        """Time (n,) to the next sample of the segment; 0 for its last one, and where the clock runs back."""
        steps = np.empty(self.time_s.size)
        np.subtract(self.time_s[1:], self.time_s[:-1], out=steps[:-1])
        steps[self.lasts] = 0.0
        return np.maximum(steps, 0.0, out=steps)

    def spread(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """A value (N,) a segment for each of its samples (n,)."""
        return np.repeat(values, self.lengths)

    def sum(self, values: Floats) -> Floats:
        """Sum (N,) over each segment."""
        return np.asarray(np.add.reduceat(values, self.starts))

    def count(self, flags: Flags) -> Places:
        """How many (N,) samples of each segment are flagged."""
        return np.asarray(np.add.reduceat(flags, self.starts, dtype=np.int64))

    def any(self, flags: Flags) -> Flags:
        """Whether (N,) any sample of a segment is flagged."""
        return np.asarray(np.logical_or.reduceat(flags, self.starts))

    def max(self, values: Floats) -> Floats:
        """Largest (N,) value of each segment, NaN passed over."""
        return np.asarray(np.fmax.reduceat(values, self.starts))

    def min(self, values: Floats) -> Floats:
        """Smallest (N,) value of each segment, NaN passed over."""
        return np.asarray(np.fmin.reduceat(values, self.starts))

    def keep(self, rows: Flags) -> "tuple[Segments, Places]":
        """The flagged samples alone, and which segments have any."""
        counts = self.count(rows)
        alive = np.flatnonzero(counts)
        columns = {name: getattr(self, name)[rows] for name in SAMPLE_COLUMNS}
        return Segments(**columns, lengths=counts[alive]), alive


def blocks(cycles: Sequence[Cycle]) -> Iterator[tuple[Places, Segments]]:
    """Positions of some cycles and their samples, block by block. Cycles without samples are in none."""
    positions: list[int] = []
    gathered = 0
    for position, cycle in enumerate(cycles):
        if len(cycle):
            positions.append(position)
            gathered += len(cycle)
        if positions and (gathered >= BLOCK_SAMPLES or position == len(cycles) - 1):
            yield np.array(positions), _joined([cycles[at] for at in positions])
            positions, gathered = [], 0


def _joined(cycles: Sequence[Cycle]) -> Segments:
    """Their samples one after the other; those of a single cycle, which may be large, are not copied."""
    columns = {name: [getattr(cycle, name) for cycle in cycles] for name in SAMPLE_COLUMNS}
    joined = {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in columns.items()}
    return Segments(**joined, lengths=np.array([len(cycle) for cycle in cycles]))


def known_samples(segments: Segments, *columns: str) -> tuple[Segments, Places]:
    """Samples in which these columns are known; untimed ones go too, where others of their segment are timed."""
    known = np.isfinite(getattr(segments, columns[0]))
    for name in columns[1:]:
        known &= np.isfinite(getattr(segments, name))
    timed = np.isfinite(segments.time_s)
    if not timed.all():
        known &= timed | ~segments.spread(segments.any(timed))
    if known.all():
        return segments, np.arange(segments.lengths.size)
    return segments.keep(known)


def unlogged(steps_s: Floats, flowing: Flags, lasts: Places) -> Flags:
    """Which intervals (n,) of flow are gaps in logging: long, and longer by far than is usual in their segment.

    Sparse records, and those that are sampled by changes of the voltage, have many long intervals; they are no gaps.
    """
    gaps = flowing & (steps_s > UNWATCHED_S)
    for segment in np.unique(np.searchsorted(lasts, np.flatnonzero(gaps))):
        rows = slice(lasts[segment - 1] + 1 if segment else 0, lasts[segment] + 1)
        usual_s = np.quantile(steps_s[rows][flowing[rows]], USUAL_SHARE, method="lower")
        gaps[rows] &= steps_s[rows] > UNUSUAL * usual_s
    return gaps
