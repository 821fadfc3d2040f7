"""Features of a charge: of the whole of it, of its constant-current and of its constant-voltage phase."""

import numpy as np

from batteries.segments import SECONDS_PER_HOUR, Flags, Floats
from batteries.statistics import Phase, moments

NEAR_TOP_V = 0.3
PHASE_STEP_V = 0.01  # the constant-voltage phase begins this close to the limit
BAND_EDGES_V = (NEAR_TOP_V, 0.2, 0.1, 0.05, PHASE_STEP_V)  # below the limit
OPEN_BELOW_TOP_V = 0.45
TOP_SHARE = 0.98  # of the samples lie below the limit: single ones can be far off
FALL_FROM, FALL_TO = 0.8, 0.2  # of the constant current
FALLEN = 0.9
LARGEST_CURRENT = 1.2  # of the constant one: single samples can be far off
MIN_SAMPLES = 5

Values = dict[str, Floats]


def charge_features(charge: Phase, nominal_capacity_ah: float, resistance_ohm: Floats) -> Values:
    """Features (N,) by name, of the charges of N segments. Pauses in them take no charge.

    `resistance_ohm` (N,) is that of the cells, from which the voltage that they would rest at is estimated.
    """
    charge = charge.where((charge.sizes >= MIN_SAMPLES)[charge.owner])
    place = np.arange(charge.at.size)
    top = _tops(charge)
    limit = charge.first_where(charge.lasting(charge.voltage_v >= (top - PHASE_STEP_V)[charge.owner]))
    rate = _mean_current_a(charge.where(place < np.maximum(limit, charge.starts + 1)[charge.owner]))
    taken = charge.charge_ah / nominal_capacity_ah
    hours = (charge.time_s - charge.first(charge.time_s)[charge.owner]) / SECONDS_PER_HOUR
    open_v = charge.voltage_v - charge.current_a * resistance_ohm[charge.owner]
    values = {
        "charge_c_rate": rate / nominal_capacity_ah,
        "charge_start_v": charge.first(charge.voltage_v),
        "charge_throughput": charge.last(taken),
        "charge_open_throughput": charge.last(taken) - charge.crossing(open_v, top - OPEN_BELOW_TOP_V, taken),
        "charge_temperature_mean_c": charge.mean(charge.temperature_c, charge.weights),
        "charge_temperature_rise_c": charge.max(charge.temperature_c) - charge.first(charge.temperature_c),
        "cc_duration_h": _to_limit(charge, top, hours),
        "cc_throughput": _to_limit(charge, top, taken),
    }
    values |= _near_top(charge, place <= limit[charge.owner], taken, top)
    tapers = (charge.last(charge.current_a) < FALLEN * rate) & (charge.ends - limit >= MIN_SAMPLES)
    rows = (place >= limit[charge.owner]) & tapers[charge.owner]
    return values | _constant_voltage(charge.where(rows), taken[rows], values["charge_throughput"], rate)


def _mean_current_a(phase: Phase) -> Floats:
    """Mean (N,) over time; over the samples of a phase of one."""
    timed = phase.mean(phase.current_a, phase.weights)
    return np.where(np.isfinite(timed), timed, phase.sum(phase.current_a) / phase.sizes)


def _tops(charge: Phase) -> Floats:
    """Voltage limit (N,) of each charge, NaN where there is none."""
    tops = np.full(charge.count, np.nan)
    for segment in np.flatnonzero(charge.sizes).tolist():
        voltage = charge.voltage_v[charge.starts[segment] : charge.ends[segment]]
        rank = round(TOP_SHARE * (voltage.size - 1))
        tops[segment] = np.partition(voltage, rank)[rank]
    return tops


def _to_limit(charge: Phase, top: Floats, values: Floats) -> Floats:
    """Value (N,) where the voltage reaches its limit; the first one where it begins there."""
    reached = charge.crossing(charge.voltage_v, top - PHASE_STEP_V, values)
    begins = charge.first(charge.voltage_v) >= top - PHASE_STEP_V
    return np.where(begins, charge.first(values), reached)


def _near_top(charge: Phase, constant: Flags, taken: Floats, top: Floats) -> Values:
    """Charge by voltage band below the limit, and how the voltage spends its time there.

    `constant` (m,): the constant-current phase, with the sample that reaches the limit.
    """
    tops = top[charge.owner]
    edges = [charge.crossing(charge.voltage_v, top - below, taken) for below in BAND_EDGES_V]
    named = [f"{round(100 * below):02d}" for below in BAND_EDGES_V]
    bands = zip(named, named[1:], edges, edges[1:], strict=False)
    rows = constant & (charge.voltage_v >= tops - NEAR_TOP_V) & (charge.voltage_v <= tops)
    near = charge.where(rows)
    return {
        "charge_end_throughput": charge.last(taken) - edges[0],
        **{f"cc_band_{upper}_{lower}": after - before for upper, lower, before, after in bands},
        "cc_slope_v": near.slope(taken[rows], near.voltage_v),
        **moments("cc_below_top", "_v", near, (tops - charge.voltage_v)[rows], span=NEAR_TOP_V, fewest=MIN_SAMPLES),
    }


def _constant_voltage(held: Phase, taken: Floats, whole: Floats, rate: Floats) -> Values:
    """How the current dies away at the voltage limit; shares of the constant current, `rate` (N,)."""
    share = np.clip(held.current_a / rate[held.owner], 0.0, LARGEST_CURRENT)
    hours = (held.time_s - held.first(held.time_s)[held.owner]) / SECONDS_PER_HOUR
    charge = held.last(taken) - held.first(taken)
    fall_from, fall_to = (
        held.crossing(share, np.full(held.count, level), hours, falling=True) for level in (FALL_FROM, FALL_TO)
    )
    return {
        "cv_duration_h": held.last(hours),
        "cv_throughput": charge,
        "cv_share": np.where(whole > 0, charge / whole, np.nan),
        "cv_fall_h": fall_to - fall_from,
        **moments("cv_current", "", held, share, span=1.0, fewest=MIN_SAMPLES),
    }
