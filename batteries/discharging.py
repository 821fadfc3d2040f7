"""Features of a discharge's first minutes; nothing later is looked at."""

import numpy as np

from batteries.segments import SECONDS_PER_HOUR, Flags, Floats, Places, Segments
from batteries.statistics import Phase, phase

EARLY_S = 1200.0
EARLY_SHARE = 1.0 / 3.0  # of the nominal capacity
EARLY_POINTS = (0.05, 0.25, 0.5, 0.75, 1.0)
LONG_ENOUGH = 0.9  # of EARLY_S
LOAD_SHARE = 0.05  # of the scale current
LOAD_SAMPLES = 5
ON_SHARE = 0.8  # of the load: where it has come on
LOADED_SHARE = 0.5
MIN_SAMPLES = 5

Values = dict[str, Floats]


def load_starts(segments: Segments, nominal_capacity_ah: float) -> Places:
    """Position (N,) of each segment's first sample under load, that behind its last one where there is none.

    Cyclers pulse the cell before they charge it, so at least two of `LOAD_SAMPLES` samples have to be loaded and none
    charged. Without a nominal capacity a load is measured against the currents before it: what comes later is not
    looked at.
    """
    current, behind = segments.current_a, segments.lasts + 1
    scale = nominal_capacity_ah if np.isfinite(nominal_capacity_ah) else _largest_so_far(segments)
    loaded, charging = current < -LOAD_SHARE * scale, current > LOAD_SHARE * scale
    at = np.flatnonzero(loaded)
    owner = np.repeat(np.arange(behind.size), segments.count(loaded))
    last = segments.lasts[owner]
    begins = at == last
    begins[:-1] |= (at[1:] - at[:-1] < LOAD_SAMPLES) & (owner[1:] == owner[:-1])
    for ahead in range(1, LOAD_SAMPLES):
        begins &= ~charging[np.minimum(at + ahead, last)]
    at = np.append(at[begins], current.size)
    return np.asarray(np.minimum(at[np.searchsorted(at, segments.starts)], behind))


def _largest_so_far(segments: Segments) -> Floats:
    """Largest current (n,) of a segment up to each sample."""
    size = np.abs(segments.current_a)
    ends = segments.starts[1:]
    return np.concatenate([np.maximum.accumulate(part) for part in np.split(size, ends)])


def discharge_features(segments: Segments, starts: Places, charge_end_s: Floats, nominal_capacity_ah: float) -> Values:
    """Features (N,) by name, of the loads that begin at `starts` (N,), after charges that ended at `charge_end_s`."""
    behind = segments.lasts + 1
    begins = np.minimum(starts, segments.lasts)
    begun_s = np.where(starts < behind, segments.time_s[begins], np.nan)  # no load, or no time: nothing below
    early = phase(segments, _early(segments, starts, begun_s + EARLY_S))
    early, passed_s, drawn = _window(early, nominal_capacity_ah)
    load_a = -early.current_a
    weights = early.weights * np.maximum(load_a, 0.0)
    rate = early.sum(weights * load_a) / early.sum(weights)
    rest_h = np.maximum(begun_s - charge_end_s, 0.0) / SECONDS_PER_HOUR
    on = np.append(early.at, 0)[early.first_where(load_a >= (ON_SHARE * rate)[early.owner])]
    resting_v = segments.voltage_v[np.maximum(begins - 1, 0)]
    drop_v = resting_v - segments.voltage_v[on]
    preceded = np.isfinite(rate) & (begins > segments.starts)
    return {
        "rest_before_load_h": np.log10(1.0 + rest_h),
        "load_c_rate": rate / nominal_capacity_ah,
        "load_rest_v": np.where((begins > segments.starts) & (starts < behind), resting_v, np.nan),
        "load_resistance_v": np.where(preceded, drop_v * nominal_capacity_ah / -segments.current_a[on], np.nan),
        "load_temperature_start_c": _first_known(early),
        "load_temperature_rise_c": early.max(early.temperature_c) - _first_known(early),
        **_voltages(early, load_a > (LOADED_SHARE * rate)[early.owner], passed_s, drawn, nominal_capacity_ah),
    }


def _early(segments: Segments, starts: Places, until_s: Floats) -> Places:
    """Positions of the samples from `starts` (N,) on, up to the first that is later than `until_s` (N,) or unknown."""
    later = np.append(np.flatnonzero(~(segments.time_s <= segments.spread(until_s))), segments.time_s.size)
    ends = np.minimum(later[np.searchsorted(later, starts)], segments.lasts + 1)
    counts = ends - starts
    return np.asarray(np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts))


def _first_known(early: Phase) -> Floats:
    """First known temperature (N,)."""
    warm = early.where(np.isfinite(early.temperature_c))
    return warm.first(warm.temperature_c)


def _window(early: Phase, nominal_capacity_ah: float) -> tuple[Phase, Floats, Floats]:
    """The samples until `EARLY_SHARE` of the nominal capacity is drawn, the time (s) passed, and the share drawn."""
    passed_s = np.maximum(early.time_s - early.first(early.time_s)[early.owner], 0.0)
    drawn = -early.charge_ah / nominal_capacity_ah
    if not np.isfinite(nominal_capacity_ah):
        return early, passed_s, drawn
    before = np.append(0.0, drawn[:-1])
    rows = (before < EARLY_SHARE) | (np.arange(drawn.size) == early.starts[early.owner])
    return early.where(rows), passed_s[rows], drawn[rows]


def _voltages(early: Phase, loaded: Flags, passed_s: Floats, drawn: Floats, nominal_capacity_ah: float) -> Values:
    """Voltage under load at the end of the early window, and its falls between points of it."""
    window_s = np.where(early.last(passed_s) >= LONG_ENOUGH * EARLY_S, EARLY_S, np.nan)
    if np.isfinite(nominal_capacity_ah):
        reached = early.crossing(drawn, np.full(early.count, EARLY_SHARE), passed_s)
        window_s = np.where(np.isfinite(reached), reached, window_s)
    load = early.where(loaded)
    window_s = np.where(load.sizes >= MIN_SAMPLES, window_s, np.nan)
    clock_s = passed_s[loaded]
    volts = [_interpolated(load, clock_s, share * window_s) for share in EARLY_POINTS]
    named = [f"{round(100 * share):02d}" for share in EARLY_POINTS]
    falls = zip(named, named[1:], volts, volts[1:], strict=False)
    return {
        **{f"load_fall_{begin}_{end}_v": before - after for begin, end, before, after in falls},
        "load_v_100": volts[-1],
    }


def _interpolated(load: Phase, clock_s: Floats, moment_s: Floats) -> Floats:
    """Voltage (N,) of each segment at a moment (N,), the nearest sample's beyond the first and the last."""
    if not clock_s.size:
        return np.full(load.count, np.nan)
    after = load.first_where(clock_s >= moment_s[load.owner])
    after = np.where(after < clock_s.size, after, load.ends - 1)
    after = np.maximum(after, 0)
    before = np.maximum(after - 1, np.minimum(load.starts, clock_s.size - 1))
    span = clock_s[after] - clock_s[before]
    share = np.clip((moment_s - clock_s[before]) / np.where(span > 0, span, np.nan), 0.0, 1.0)
    share = np.where((span > 0) | ~np.isfinite(moment_s), share, 1.0)
    return load.voltage_v[before] + share * (load.voltage_v[after] - load.voltage_v[before])
