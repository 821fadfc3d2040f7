"""Scalars of a cycle: the charge that its discharge gave."""

import numpy as np
from numpy.typing import NDArray

from batteries.recordings import Cycle, Recording

Floats = NDArray[np.float64]

SECONDS_PER_HOUR = 3600.0
LOAD_SHARE = 0.02  # of the largest current: below it a sample is rest, whatever offset the instrument has
PULSE_S = 60.0
SMALLEST_RECORDED = 0.5  # of the integrated one; smaller is common, where the cycler counts to a higher cut-off voltage
LARGEST_RECORDED = 1.2  # more than was drawn is not believed
SMALLEST_SHARE = 0.15  # of the nominal capacity: a discharge below it says nothing about health (0.3 Ah for 2 Ah)
LARGEST_SHARE = 1.5
SMALLEST_AH = 1e-5
EARLY_CYCLES = 10


def integrated_discharge_ah(cycle: Cycle) -> float | None:
    """Charge (Ah) drawn while the load was on; None without time, current or load.

    Trapezoids of the current between neighbouring samples under load. Currents within `LOAD_SHARE` of the largest one
    are rest. An interval that begins or ends at rest counts only inside a pulsed load, where the load returns within
    `PULSE_S`: nothing says when in that interval the load came on, and it may be hours long.
    """
    known = np.isfinite(cycle.time_s) & np.isfinite(cycle.current_a)
    time_s, current_a = cycle.time_s[known], cycle.current_a[known]
    if time_s.size < 2:
        return None
    load = np.maximum(-current_a, 0.0)
    load[load < LOAD_SHARE * np.abs(current_a).max()] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # absurd numbers give an absurd capacity, which is not believed
        steps = np.maximum(np.diff(time_s), 0.0)
        steps[~_under_load(time_s, load > 0)] = 0.0
        charge = float(np.sum((load[1:] + load[:-1]) * steps)) / 2.0 / SECONDS_PER_HOUR
    return charge if charge > 0 else None


def _under_load(time_s: Floats, loaded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the (n - 1,) intervals lie between neighbouring samples under load, or between pulses of one."""
    at = np.flatnonzero(loaded)
    if at.size < 2:
        return np.zeros(loaded.size - 1, dtype=bool)
    together = (np.diff(at) == 1) | (np.diff(time_s[at]) <= PULSE_S)
    inside = np.zeros(loaded.size - 1, dtype=bool)
    inside[at[0] : at[-1]] = np.repeat(together, np.diff(at))
    return inside


def discharge_capacity_ah(cycle: Cycle, nominal_capacity_ah: float | None = None) -> float | None:
    """Capacity (Ah) of the cycle's discharge, None where it is not known.

    The recorded capacity where it is plausible: between `SMALLEST_RECORDED` and `LARGEST_RECORDED` of the integrated
    one where there is one. Else the integrated one. A recorded zero means that the discharge was broken off before its
    end (NASA's B0045, cycle 20), so nothing is known. With a nominal capacity, what lies outside `SMALLEST_SHARE` to
    `LARGEST_SHARE` of it is unknown: the discharge was broken off, or the record is wrong.
    """
    recorded, integrated = cycle.recorded_capacity_ah, integrated_discharge_ah(cycle)
    if recorded is not None and recorded <= 0:
        return None
    agree = recorded and integrated and SMALLEST_RECORDED <= recorded / integrated <= LARGEST_RECORDED
    capacity = recorded if agree or integrated is None else integrated
    return capacity if capacity is not None and _plausible(capacity, nominal_capacity_ah) else None


def _plausible(capacity_ah: float, nominal_capacity_ah: float | None) -> bool:
    if not (np.isfinite(capacity_ah) and capacity_ah > SMALLEST_AH):
        return False
    if nominal_capacity_ah is None:
        return True
    return SMALLEST_SHARE <= capacity_ah / nominal_capacity_ah <= LARGEST_SHARE


def discharge_capacities_ah(recording: Recording, nominal_capacity_ah: float | None = None) -> Floats:
    """Capacity (N,) of each cycle in Ah, NaN where unknown.

    Judged against the nominal capacity given, else the recording's, else the best early one of the record itself.
    """
    nominal = nominal_capacity_ah or recording.nominal_capacity_ah
    if nominal is None:
        nominal = early_capacity_ah(_capacities(recording, None))
    return _capacities(recording, nominal)


def _capacities(recording: Recording, nominal_capacity_ah: float | None) -> Floats:
    return np.array([discharge_capacity_ah(cycle, nominal_capacity_ah) for cycle in recording.cycles], dtype=np.float64)


def early_capacity_ah(capacity_ah: Floats) -> float | None:
    """Best of the first `EARLY_CYCLES` known capacities: stands in for a nominal capacity that nobody gave."""
    known = capacity_ah[np.isfinite(capacity_ah)]
    return float(known[:EARLY_CYCLES].max()) if known.size else None
