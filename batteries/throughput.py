"""Charge and energy that flow one way, integrated over what flows and not over the rest beside it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from batteries.segments import SECONDS_PER_HOUR, Flags, Floats, Places, Segments

LOAD_SHARE = 0.02  # of the largest load: below it a sample is rest, whatever offset the instrument has
SMALLEST_C_RATE = 0.005  # 1/h: what an instrument shows at rest is less, the slowest discharge more
LARGEST_REST_C_RATE = 0.05  # 1/h: a single reading far off makes no rest of the load beside it
PULSE_S = 60.0


@dataclass(frozen=True, eq=False)
class Flow:
    """What flows one way in N segments: the M samples in which it does, and M steps from each to the next.

    The last sample of a segment has a step of nothing.
    """

    segments: Segments
    at: Places  # (M,) positions among the segments' samples
    owner: Places  # (M,) segments
    current_a: Floats  # (M,) nowhere negative
    steady: Flags  # (M,) whether the next sample of the segment flows too
    charge_as: Floats  # (M,) up to the next one

    @cached_property
    def charge_ah(self) -> Floats:
        """Charge (N,), NaN where none is known to flow."""
        charge = self._total(self.charge_as) / SECONDS_PER_HOUR
        return np.where(charge > 0, charge, np.nan)

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
        return self.charge_ah * energy / self._total(np.where(known, self.charge_as, 0.0))

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


def charged(segments: Segments, nominal_capacity_ah: float | None) -> Flow:
    """What the charge put in. Its current may die away to a hundredth of the C-rate."""
    return _flow(segments, segments.current_a, _smallest_a(segments, nominal_capacity_ah), pulse_s=0.0)


def discharged(segments: Segments, nominal_capacity_ah: float | None) -> Flow:
    """What the load drew.

    Trapezoids of the current between neighbouring samples under load. An interval that begins or ends at rest counts
    only inside a pulsed load, where the load returns within `PULSE_S`: nothing says when in that interval the load came
    on, and it may be hours long.
    """
    load_a = -segments.current_a
    rest_a = LOAD_SHARE * segments.max(load_a)
    if nominal_capacity_ah is not None:
        rest_a = np.minimum(rest_a, LARGEST_REST_C_RATE * nominal_capacity_ah)
    return _flow(segments, load_a, np.maximum(rest_a, _smallest_a(segments, nominal_capacity_ah)), pulse_s=PULSE_S)


def _smallest_a(segments: Segments, nominal_capacity_ah: float | None) -> Floats:
    """Current (N,) below which nothing flows; measured against the largest one where no nominal capacity is known."""
    if nominal_capacity_ah is None:
        return SMALLEST_C_RATE * segments.max(np.abs(segments.current_a))
    return np.full(segments.lengths.size, SMALLEST_C_RATE * nominal_capacity_ah)


def _flow(segments: Segments, current_a: Floats, smallest_a: Floats, *, pulse_s: float) -> Flow:
    """Integrals of a current (n,) where it is above `smallest_a` (N,), and over pauses of at most `pulse_s` in it."""
    flowing = current_a > segments.spread(smallest_a)
    at = np.flatnonzero(flowing)
    owner = np.repeat(np.arange(segments.lengths.size), segments.count(flowing))
    current_a = current_a[at]
    seconds = _steps_s(segments, at)
    together = np.zeros(at.size, dtype=bool)
    together[:-1] = owner[1:] == owner[:-1]
    next_to = np.zeros(at.size, dtype=bool)
    next_to[:-1] = at[1:] - at[:-1] == 1
    steady = together & next_to
    charge_as = np.zeros(at.size)
    charge_as[:-1] = (current_a[1:] + current_a[:-1]) * seconds[:-1] / 2.0
    charge_as[~steady] = 0.0
    paused = np.flatnonzero(together & ~next_to & (seconds <= pulse_s))
    if paused.size:
        first, last = at[paused], at[paused + 1]
        falling_s = segments.time_s[first + 1] - segments.time_s[first]
        rising_s = segments.time_s[last] - segments.time_s[last - 1]
        charge_as[paused] = (current_a[paused] * falling_s + current_a[paused + 1] * rising_s) / 2.0
    return Flow(segments, at, owner, current_a, steady, charge_as)


def _steps_s(segments: Segments, at: Places) -> Floats:
    """Time (M,) from each of these samples to the next of them; nothing for the last."""
    time_s = segments.time_s[at]
    seconds = np.zeros(at.size)
    np.subtract(time_s[1:], time_s[:-1], out=seconds[:-1])
    return np.maximum(seconds, 0.0, out=seconds)
