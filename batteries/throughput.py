"""Charge and energy put in and drawn, integrated over what flows and not over the rest beside it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from batteries.segments import SECONDS_PER_HOUR, Flags, Floats, Places, Segments, unlogged

LOAD_SHARE = 0.02  # of the largest load: below it a sample is rest, whatever offset the instrument has
SMALLEST_C_RATE = 0.005  # 1/h: what an instrument shows at rest is less, the slowest discharge more
LARGEST_REST_C_RATE = 0.05  # 1/h: a single reading far off makes no rest of the load beside it
PULSE_S = 60.0  # both edges of a pause together
LONGEST_PAUSE_S = 600.0  # a load that comes back later is another one


@dataclass(frozen=True, eq=False)
class Load:
    """What N segments were discharged with: the M samples under load, and M steps from each to the next.

    The last sample of a segment has a step of nothing.
    """

    segments: Segments
    at: Places  # (M,) positions among the segments' samples
    owner: Places  # (M,) segments
    current_a: Floats  # (M,) positive
    steady: Flags  # (M,) whether the next sample of the segment is under load too
    charge_as: Floats  # (M,) up to the next one
    unlogged_as: Floats  # (M,) more of it, if the load went on while nothing was logged

    @cached_property
    def charge_ah(self) -> Floats:
        """Charge (N,), NaN where none is known to flow."""
        charge = self._total(self.charge_as) / SECONDS_PER_HOUR
        return np.where(charge > 0, charge, np.nan)

    @cached_property
    def most_ah(self) -> Floats:
        """Charge (N,) that may have flown, gaps in logging included."""
        return self.charge_ah + self._total(self.unlogged_as) / SECONDS_PER_HOUR

    @cached_property
    def energy_wh(self) -> Floats:
        """Energy (N,): the charge times the voltage at which it flowed, as far as that is known."""
        volts = np.zeros(self.at.size)
        voltage = self.segments.voltage_v[self.at]
        np.add(voltage[1:], voltage[:-1], out=volts[:-1])
        volts *= 0.5
        known = np.isfinite(volts)
        if known.all():
            return self._total(volts * self.charge_as) / np.where(self.charge_ah > 0, SECONDS_PER_HOUR, np.nan)
        energy = self._total(np.where(known, volts * self.charge_as, 0.0))
        return self.charge_ah * (energy / self._total(np.where(known, self.charge_as, 0.0)))

    @cached_property
    def mean_current_a(self) -> Floats:
        """Mean current (N,) over time while it flows; over its samples where it never does for two in a row."""
        seconds = _steps_s(self.segments, self.at)
        lasting = self._total(np.where(self.steady, seconds, 0.0))
        mean = self._total(np.where(self.steady, self.charge_as, 0.0)) / lasting
        counts = np.bincount(self.owner, minlength=self.segments.lengths.size)
        return np.where(lasting > 0, mean, self._total(self.current_a) / counts)

    def _total(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self.owner, values, self.segments.lengths.size), dtype=np.float64)


def charged(segments: Segments, nominal_capacity_ah: float | None) -> tuple[Floats, Floats, Floats]:
    """Charge (Ah) and energy (Wh) that were put in, and the charge with what gaps in logging may hide, (N,) each.

    Trapezoids between neighbouring samples on charge, whose current may die away to a hundredth of the C-rate. NaN
    where none is known to flow.
    """
    current, voltage = segments.current_a, segments.voltage_v
    flowing = current > segments.spread(_smallest_a(segments, nominal_capacity_ah))
    charge_as = np.zeros(current.size)
    np.add(current[1:], current[:-1], out=charge_as[:-1])
    charge_as *= segments.steps_s
    charge_as[:-1] *= flowing[1:] & flowing[:-1]
    gaps = unlogged(segments.steps_s, charge_as > 0, segments.lasts)
    unlogged_as = segments.sum(np.where(gaps, charge_as, 0.0)) if gaps.any() else np.zeros(segments.lengths.size)
    charge_as[gaps] = 0.0
    volts = np.zeros(current.size)
    np.add(voltage[1:], voltage[:-1], out=volts[:-1])
    volts *= charge_as
    charge, energy = segments.sum(charge_as), segments.sum(volts)
    unsure = ~np.isfinite(energy)
    if unsure.any():
        known = np.isfinite(volts)
        charge = segments.sum(np.where(np.isfinite(charge_as), charge_as, 0.0))
        measured = segments.sum(np.where(known, volts, 0.0)) / segments.sum(np.where(known, charge_as, 0.0))
        energy = np.where(unsure, charge * measured, energy)
    charge = np.where(charge > 0, charge, np.nan) / 2.0 / SECONDS_PER_HOUR
    energy = np.where(charge > 0, energy, np.nan) / 4.0 / SECONDS_PER_HOUR
    return charge, energy, charge + unlogged_as / 2.0 / SECONDS_PER_HOUR


def discharged(segments: Segments, nominal_capacity_ah: float | None) -> Load:
    """What the load drew.

    Trapezoids of the current between neighbouring samples under load. An interval that begins or ends at rest counts
    only inside a pulsed load, where the load returns within `LONGEST_PAUSE_S` and both edges of the pause take no more
    than `PULSE_S`: nothing says when in that interval the load came on, and it may be hours long.
    """
    rest_a = -LOAD_SHARE * segments.min(segments.current_a)
    if nominal_capacity_ah is not None:
        rest_a = np.minimum(rest_a, LARGEST_REST_C_RATE * nominal_capacity_ah)
    rest_a = np.maximum(rest_a, _smallest_a(segments, nominal_capacity_ah))
    return _load(segments, segments.current_a < segments.spread(-rest_a))


def _smallest_a(segments: Segments, nominal_capacity_ah: float | None) -> Floats:
    """Current (N,) below which nothing flows; measured against the largest one where no nominal capacity is known."""
    if nominal_capacity_ah is None:
        return SMALLEST_C_RATE * segments.max(np.abs(segments.current_a))
    return np.full(segments.lengths.size, SMALLEST_C_RATE * nominal_capacity_ah)


def _load(segments: Segments, flowing: Flags) -> Load:
    """Integrals over the samples under load (n,), and over short pauses in it."""
    at = np.flatnonzero(flowing)
    owner = np.repeat(np.arange(segments.lengths.size), segments.count(flowing))
    current_a = -segments.current_a[at]
    seconds = _steps_s(segments, at)
    together = np.zeros(at.size, dtype=bool)
    together[:-1] = owner[1:] == owner[:-1]
    next_to = np.zeros(at.size, dtype=bool)
    next_to[:-1] = at[1:] - at[:-1] == 1
    steady = together & next_to
    charge_as = np.zeros(at.size)
    charge_as[:-1] = (current_a[1:] + current_a[:-1]) * seconds[:-1] / 2.0
    charge_as[~steady] = 0.0
    gaps = unlogged(seconds, steady, np.cumsum(np.bincount(owner, minlength=segments.lengths.size)) - 1)
    unlogged_as = np.where(gaps, charge_as, 0.0)
    charge_as[gaps] = 0.0
    paused = np.flatnonzero(together & ~next_to & (seconds <= LONGEST_PAUSE_S))
    first, last = at[paused], at[paused + 1]
    falling_s = segments.time_s[first + 1] - segments.time_s[first]
    rising_s = segments.time_s[last] - segments.time_s[last - 1]
    edges_as = (current_a[paused] * falling_s + current_a[paused + 1] * rising_s) / 2.0
    charge_as[paused] = np.where(falling_s + rising_s <= PULSE_S, edges_as, 0.0)
    return Load(segments, at, owner, current_a, steady & ~gaps, charge_as, unlogged_as)


def _steps_s(segments: Segments, at: Places) -> Floats:
    """Time (M,) from each of these samples to the next of them; nothing for the last."""
    time_s = segments.time_s[at]
    seconds = np.zeros(at.size)
    np.subtract(time_s[1:], time_s[:-1], out=seconds[:-1])
    return np.maximum(seconds, 0.0, out=seconds)
