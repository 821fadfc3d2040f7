"""Sums, moments and crossings of irregularly sampled series of N segments at once. What cannot be known is NaN."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from batteries.segments import SECONDS_PER_HOUR, Flags, Floats, Places, Segments, unlogged

ENTROPY_BINS = 10
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Phase:
    """Some samples (m,) of N segments, in their order: a phase of each, empty in some."""

    at: Places  # positions among the segments' samples
    rank: Places  # positions among the phase's samples before they were thinned
    owner: Places  # segments
    count: int  # N
    time_s: Floats
    voltage_v: Floats
    current_a: Floats
    temperature_c: Floats

    @cached_property
    def sizes(self) -> Places:
        """Samples (N,) of each segment."""
        return np.asarray(np.bincount(self.owner, minlength=self.count))

    @cached_property
    def ends(self) -> Places:
        """Position (N,) in the phase just behind each segment's last sample."""
        return np.asarray(np.cumsum(self.sizes))

    @cached_property
    def starts(self) -> Places:
        """Position (N,) in the phase of each segment's first sample."""
        return np.asarray(self.ends - self.sizes)

    @cached_property
    def joined(self) -> Flags:
        """Whether (m,) the next sample follows, with no other and no gap in logging between them."""
        joined, steps_s = np.zeros(self.at.size, dtype=bool), np.zeros(self.at.size)
        np.equal(self.at[1:] - self.at[:-1], self.rank[1:] - self.rank[:-1], out=joined[:-1])
        joined[:-1] &= self.owner[1:] == self.owner[:-1]
        np.subtract(self.time_s[1:], self.time_s[:-1], out=steps_s[:-1])
        joined &= ~unlogged(steps_s, joined, self.ends - 1)
        return joined

    @cached_property
    def steps_h(self) -> Floats:
        """Hours (m,) from each sample to the next; 0 across pauses and gaps in logging, and from the last."""
        steps = np.zeros(self.at.size)
        np.subtract(self.time_s[1:], self.time_s[:-1], out=steps[:-1])
        steps = np.where(self.joined, steps, 0.0)
        steps /= SECONDS_PER_HOUR
        return np.maximum(steps, 0.0, out=steps)

    @cached_property
    def weights(self) -> Floats:
        """Time (m,) that each sample stands for; all alike in segments whose time is not known."""
        weights = self.steps_h.copy()
        weights[1:] += self.steps_h[:-1]
        untimed = np.isnan(self.first(self.time_s)) & (self.sizes > 0)
        if untimed.any():
            weights[untimed[self.owner]] = 1.0
        return weights

    @cached_property
    def charge_ah(self) -> Floats:
        """Charge (m,) that has flowed up to each sample since the first of its segment, by trapezoids."""
        charge = np.zeros(self.at.size)
        np.add(self.current_a[1:], self.current_a[:-1], out=charge[1:])
        charge[1:] *= self.steps_h[:-1]
        charge *= 0.5
        return self.running(charge)

    def running(self, values: Floats) -> Floats:
        """Sums (m,) of values up to each sample since the first of its segment, which counts as nothing.

        Segment by segment, so that what is absurd or unknown in one touches no other.
        """
        sums = np.empty(values.size)
        for segment in np.flatnonzero(self.sizes).tolist():
            own = slice(self.starts[segment], self.ends[segment])
            np.cumsum(values[own], out=sums[own])
            sums[own] -= sums[own.start]
        return sums

    def sum(self, values: Floats | Flags) -> Floats:
        """Sum (N,) of values (m,)."""
        return np.asarray(np.bincount(self.owner, values, self.count), dtype=np.float64)

    def mean(self, values: Floats, weights: Floats) -> Floats:
        """Weighted mean (N,) of the known values (m,)."""
        known = np.isfinite(values)
        weights = np.where(known, weights, 0.0)
        return self.sum(np.where(known, values, 0.0) * weights) / self.sum(weights)

    def first(self, values: Floats) -> Floats:
        """First value (N,)."""
        return self._picked(values, self.starts)

    def last(self, values: Floats) -> Floats:
        """Last value (N,)."""
        return self._picked(values, self.ends - 1)

    def _picked(self, values: Floats, places: Places) -> Floats:
        if not values.size:
            return np.full(self.count, np.nan)
        return np.where(self.sizes > 0, values[np.minimum(places, values.size - 1)], np.nan)

    def max(self, values: Floats) -> Floats:
        """Largest known value (N,)."""
        largest = np.full(self.count, np.nan)
        some = self.sizes > 0
        if some.any():
            largest[some] = np.fmax.reduceat(values, self.starts[some])
        return largest

    def where(self, rows: Flags) -> "Phase":
        """The flagged samples alone."""
        if rows.all():
            return self
        chosen = np.flatnonzero(rows)
        arrays = {field.name: getattr(self, field.name)[chosen] for field in fields(self) if field.name != "count"}
        return Phase(count=self.count, **arrays)

    def lasting(self, rows: Flags) -> Flags:
        """The flagged samples (m,) that another one follows, or nothing: a single reading can be far off."""
        followed = rows.copy()
        followed[:-1] &= rows[1:] | (self.owner[1:] != self.owner[:-1])
        return followed

    def first_where(self, rows: Flags) -> Places:
        """Position (N,) in the phase of the first flagged sample of each segment; m where there is none."""
        chosen = np.append(np.flatnonzero(rows), self.at.size)
        found = chosen[np.searchsorted(chosen, self.starts)]
        return np.asarray(np.where(found < self.ends, found, self.at.size))

    def crossing(self, values: Floats, level: Floats, of: Floats, *, falling: bool = False) -> Floats:
        """Value (N,) of `of` where `values` first reach `level` (N,), between samples; NaN where they begin there."""
        levels = level[self.owner]
        place = self.first_where(self.lasting(values <= levels if falling else values >= levels))
        crossed = (place > self.starts) & (place < self.at.size)
        after = np.where(crossed, place, 0)
        before = np.maximum(after - 1, 0)
        if not values.size:
            return np.full(self.count, np.nan)
        share = (level - values[before]) / (values[after] - values[before])
        return np.where(crossed, of[before] + share * (of[after] - of[before]), np.nan)

    def slope(self, x: Floats, y: Floats) -> Floats:
        """Least-squares slope (N,) of y over x, NaN for fewer than three samples or where x does not vary."""
        x = x - (self.sum(x) / self.sizes)[self.owner]
        y = y - (self.sum(y) / self.sizes)[self.owner]
        variance = self.sum(x * x)
        return np.where((self.sizes >= 3) & (variance > 0), self.sum(x * y) / variance, np.nan)


def phase(segments: Segments, at: Places, most: int | None = None) -> Phase:
    """The samples (m,) at these positions; evenly thinned in segments that have more than `most`, if given."""
    counts = np.diff(np.searchsorted(at, np.append(segments.starts, segments.time_s.size)))
    starts = np.cumsum(counts) - counts
    every = np.maximum(-(-counts // most), 1) if most else np.ones_like(counts)
    kept = -(-counts // every)
    owner = np.repeat(np.arange(counts.size), kept)
    rank = (np.arange(owner.size) - (np.cumsum(kept) - kept)[owner]) * every[owner] + starts[owner]
    rank[(np.cumsum(kept) - 1)[kept > 0]] = (starts + counts - 1)[kept > 0]  # the last one always stays
    at = at[rank]
    columns = (segments.time_s[at], segments.voltage_v[at], segments.current_a[at], segments.temperature_c[at])
    return Phase(at, rank, owner, segments.lengths.size, *columns)


def moments(name: str, unit: str, samples: Phase, values: Floats, *, span: float, fewest: int) -> dict[str, Floats]:
    """Mean, standard deviation, skewness, excess kurtosis, and entropy over `ENTROPY_BINS` bins of 0…span, over time.

    (N,) each; NaN for segments of fewer than `fewest` samples.
    """
    weights = samples.weights
    total = samples.sum(weights)
    total = np.where((samples.sizes >= fewest) & (total > 0), total, np.nan)
    share = weights / total[samples.owner]
    share[np.isnan(share)] = 0.0
    mean = samples.sum(share * values)
    centred = values - mean[samples.owner]
    powers = share * centred * centred
    variance = samples.sum(powers)
    powers *= centred
    third = samples.sum(powers)
    powers *= centred
    fourth = samples.sum(powers)
    spread = np.where(variance > SMALLEST_VARIANCE, variance, np.nan)
    bins = np.clip(values / span * ENTROPY_BINS, 0, ENTROPY_BINS - 1).astype(np.int64)
    density = np.bincount(samples.owner * ENTROPY_BINS + bins, share, samples.count * ENTROPY_BINS)
    density = density.reshape(samples.count, ENTROPY_BINS)
    logarithm = np.log(np.where(density > 0, density, 1.0))
    known = total / total
    return {
        f"{name}_mean{unit}": mean * known,
        f"{name}_std{unit}": np.sqrt(variance) * known,
        f"{name}_skewness": third / spread**1.5,
        f"{name}_kurtosis": fourth / spread**2 - 3.0,
        f"{name}_entropy": -(density * logarithm).sum(axis=1) * known,
    }
