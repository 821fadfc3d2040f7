"""Scalars of a recording's cycles: what went in and out, how warm it was, and whether the discharge was a whole one.

A discharge is integrated over its load alone (`throughput`); docs/decisions/0011 says which capacity is believed.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from batteries.completeness import Discharges, whole
from batteries.recordings import Recording
from batteries.segments import Flags, Floats, Places, Segments, blocks, known_samples
from batteries.throughput import Load, charged, discharged

SCALARS = {  # name: unit
    "capacity_ah": "Ah",
    "charge_capacity_ah": "Ah",
    "energy_wh": "Wh",
    "charge_energy_wh": "Wh",
    "coulombic_efficiency": "1",
    "duration_s": "s",
    "mean_temperature_c": "°C",
    "max_temperature_c": "°C",
    "internal_resistance_ohm": "ohm",
    "c_rate": "1/h",
    "complete": "bool",
}

SMALLEST_RECORDED = 0.5  # of the integrated one; smaller is common, where the cycler counts to a higher cut-off voltage
LARGEST_RECORDED = 1.2  # more than was drawn is not believed
SMALLEST_SHARE = 0.15  # of the nominal capacity: a discharge below it says nothing about health (0.3 Ah for 2 Ah)
LARGEST_SHARE = 1.5
SMALLEST_AH = 1e-5
EARLY_CYCLES = 10
OTHER_UNIT = 100.0  # times off, and a nominal capacity is in another unit, or another cell's
FAR_OFF = 1.25  # times the median of the early capacities: not a capacity to measure health by

LARGEST_EFFICIENCY = 1.1  # more comes out than went in: the charge on record is not all that filled the cell
UNSAMPLED_S = 600.0  # longer between two samples, and nobody measured the temperature
ONSET_SHARE = 0.01  # of the charge drawn: less before the load comes on is the cycler's own pulse
ONSET_S = 30.0  # the step of the voltage tells a resistance when sampled this closely
END_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class CycleScalars:
    """Scalars of N cycles, (N,) each, NaN where unknown; units in `SCALARS`.

    `capacity_ah` and `coulombic_efficiency` are unknown for cycles that are not `complete`; energies are what flowed.
    """

    capacity_ah: Floats  # of the discharge
    charge_capacity_ah: Floats
    energy_wh: Floats  # drawn by the load
    charge_energy_wh: Floats
    coulombic_efficiency: Floats  # charge drawn / charge put in, both integrated
    duration_s: Floats  # from the first sample to the last
    mean_temperature_c: Floats  # over time
    max_temperature_c: Floats
    internal_resistance_ohm: Floats  # recorded, where any of the recording is; else the step of V / step of I at onset
    c_rate: Floats  # mean current under load / nominal capacity
    complete: Flags  # a discharge of a full cell down to its cut-off voltage
    nominal_capacity_ah: float | None  # measured against: the given one, else the layout's, else the best early one

    def columns(self) -> dict[str, Floats | Flags]:
        """The columns (N,) by their names in `SCALARS`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in SCALARS}


@dataclass(frozen=True, eq=False)
class _Measured:
    """What the samples say, (N,) each, before anything is believed or not."""

    drawn_ah: Floats
    most_drawn_ah: Floats  # with what gaps in logging may hide
    charge_capacity_ah: Floats
    most_charged_ah: Floats
    energy_wh: Floats
    charge_energy_wh: Floats
    duration_s: Floats
    mean_temperature_c: Floats
    max_temperature_c: Floats
    onset_ohm: Floats
    load_a: Floats
    start_v: Floats
    end_v: Floats


def cycle_scalars(recording: Recording, nominal_capacity_ah: float | None = None) -> CycleScalars:
    """Scalars of every cycle.

    The nominal capacity is the one given, else the recording's, else the best early capacity of the record itself.
    """
    nominal = nominal_capacity_ah or recording.nominal_capacity_ah
    with np.errstate(all="ignore"):  # absurd numbers give absurd results, which are unknown, below
        measured = _measure(recording, nominal)
        recorded = _recorded(recording, "recorded_capacity_ah")
        if nominal is None:
            nominal = early_capacity_ah(_believed(recording, measured, recorded, None))
        capacity = _believed(recording, measured, recorded, nominal)
        complete = np.isfinite(capacity)
        return CycleScalars(
            capacity_ah=capacity,
            charge_capacity_ah=_known(
                _plausible(
                    _recorded(recording, "recorded_charge_ah"), measured.charge_capacity_ah, measured.most_charged_ah
                )
            ),
            energy_wh=_known(measured.energy_wh),
            charge_energy_wh=_known(measured.charge_energy_wh),
            coulombic_efficiency=np.where(complete, _efficiency(measured), np.nan),
            duration_s=_known(measured.duration_s),
            mean_temperature_c=_known(measured.mean_temperature_c),
            max_temperature_c=_known(measured.max_temperature_c),
            internal_resistance_ohm=_resistance_ohm(measured, _recorded(recording, "recorded_resistance_ohm")),
            c_rate=_known(measured.load_a / (np.nan if nominal is None else nominal)),
            complete=complete,
            nominal_capacity_ah=nominal,
        )


def discharge_capacities_ah(recording: Recording, nominal_capacity_ah: float | None = None) -> Floats:
    """Capacity (N,) of each cycle in Ah, NaN where unknown: `cycle_scalars(…).capacity_ah`."""
    return cycle_scalars(recording, nominal_capacity_ah).capacity_ah


def misjudged_capacity_ah(recording: Recording, nominal_capacity_ah: float) -> float | None:
    """The best early capacity of a record that this nominal capacity is `OTHER_UNIT` times off; None where it is not.

    Worth asking where no discharge is complete by that nominal capacity.
    """
    own = cycle_scalars(replace(recording, nominal_capacity_ah=None)).nominal_capacity_ah
    if own is None or 1.0 / OTHER_UNIT <= nominal_capacity_ah / own <= OTHER_UNIT:
        return None
    return own


def early_capacity_ah(capacity_ah: Floats) -> float | None:
    """Best of the first `EARLY_CYCLES` known capacities: stands in for a nominal capacity that nobody gave."""
    early = capacity_ah[np.isfinite(capacity_ah)][:EARLY_CYCLES]
    return float(early[early <= FAR_OFF * np.median(early)].max()) if early.size else None


def _believed(
    recording: Recording, measured: _Measured, recorded_ah: Floats, nominal_capacity_ah: float | None
) -> Floats:
    """Capacity (N,) of the complete discharges, NaN for the others.

    The recorded capacity where it is plausible: between `SMALLEST_RECORDED` and `LARGEST_RECORDED` of the integrated
    one where there is one. Else the integrated one. A recorded zero means that the discharge was broken off before its
    end (NASA's B0045, cycle 20). What lies outside `SMALLEST_SHARE` to `LARGEST_SHARE` of the nominal capacity was
    broken off, or the record is wrong.
    """
    capacity = _plausible(recorded_ah, measured.drawn_ah, measured.most_drawn_ah)
    believed = np.isfinite(capacity) & (capacity > SMALLEST_AH) & ~(recorded_ah <= 0)
    if nominal_capacity_ah is not None:
        believed &= capacity >= SMALLEST_SHARE * nominal_capacity_ah
        believed &= capacity <= LARGEST_SHARE * nominal_capacity_ah
    capacity = np.where(believed, capacity, np.nan)
    discharges = Discharges(capacity, measured.start_v, measured.end_v)
    return np.where(whole(discharges, recording.discharge_cut_off_v, nominal_capacity_ah), capacity, np.nan)


def _plausible(recorded_ah: Floats, integrated_ah: Floats, most_ah: Floats) -> Floats:
    """The recorded charge (N,) where it agrees with the integrated one, or is all there is; else the integrated one.

    The instrument may have counted on while nothing was logged: up to `most_ah`.
    """
    agree = (recorded_ah >= SMALLEST_RECORDED * integrated_ah) & (recorded_ah <= LARGEST_RECORDED * most_ah)
    return np.where(agree | np.isnan(integrated_ah), recorded_ah, integrated_ah)


def _efficiency(measured: _Measured) -> Floats:
    efficiency = measured.drawn_ah / measured.charge_capacity_ah
    return np.where(efficiency <= LARGEST_EFFICIENCY, efficiency, np.nan)


def _resistance_ohm(measured: _Measured, recorded_ohm: Floats) -> Floats:
    """One definition throughout a recording: the recorded resistance where any cycle has one, else the load's onset."""
    usable = np.isfinite(recorded_ohm) & (recorded_ohm > 0)
    resistance = np.where(usable, recorded_ohm, np.nan) if usable.any() else measured.onset_ohm
    return _known(np.where(resistance > 0, resistance, np.nan))


def _recorded(recording: Recording, name: str) -> Floats:
    return np.array([getattr(cycle, name) for cycle in recording.cycles], dtype=np.float64)


def _known(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _measure(recording: Recording, nominal_capacity_ah: float | None) -> _Measured:
    """Block by block; a cycle without samples has nothing."""
    found = {field.name: np.full(len(recording), np.nan) for field in fields(_Measured)}
    for positions, segments in blocks(recording.cycles):
        for name, values in _clock_and_warmth(segments).items():
            found[name][positions] = values
        known, alive = known_samples(segments, "current_a")
        if alive.size:
            for name, values in _flows(known, nominal_capacity_ah).items():
                found[name][positions[alive]] = values
    return _Measured(**found)


def _clock_and_warmth(segments: Segments) -> dict[str, Floats]:
    """Duration, and temperature over time; over the samples where the time is not known."""
    temperature, steps = segments.temperature_c, segments.steps_s
    lasting = segments.sum(steps)
    pairs = np.zeros(steps.size)
    np.add(temperature[1:], temperature[:-1], out=pairs[:-1])
    warmth = segments.sum(pairs * steps)
    unsure = ~np.isfinite(warmth) | (segments.max(steps) > UNSAMPLED_S)
    if unsure.any():  # unknown temperatures or times, or too long between two of them
        steps = np.where((steps <= UNSAMPLED_S) & np.isfinite(pairs), steps, 0.0)
        lasting, warmth = segments.sum(steps), segments.sum(np.where(steps > 0, pairs, 0.0) * steps)
    mean = warmth / lasting / 2.0
    if not (lasting > 0).all():
        warm = np.isfinite(temperature)
        plain = segments.sum(np.where(warm, temperature, 0.0)) / segments.count(warm)
        mean = np.where(lasting > 0, mean, plain)
    duration = segments.max(segments.time_s) - segments.min(segments.time_s)
    return {"duration_s": duration, "mean_temperature_c": mean, "max_temperature_c": segments.max(temperature)}


def _flows(segments: Segments, nominal_capacity_ah: float | None) -> dict[str, Floats]:
    """Charge and energy both ways, and the load's two ends."""
    load = discharged(segments, nominal_capacity_ah)
    charge_ah, charge_wh, most_charged_ah = charged(segments, nominal_capacity_ah)
    found = {
        "drawn_ah": load.charge_ah,
        "most_drawn_ah": load.most_ah,
        "charge_capacity_ah": charge_ah,
        "most_charged_ah": most_charged_ah,
        "energy_wh": load.energy_wh,
        "charge_energy_wh": charge_wh,
        "load_a": load.mean_current_a,
    }
    return found | _ends(segments, load)


def _ends(segments: Segments, load: Load) -> dict[str, Floats]:
    """Voltage before the load, the resistance that its fall tells, and the voltage at the end; NaN without a load."""
    counts = np.bincount(load.owner, minlength=segments.lengths.size)
    loaded = np.flatnonzero(counts)
    found = {name: np.full(counts.size, np.nan) for name in ("onset_ohm", "start_v", "end_v")}
    if not loaded.size:
        return found
    last = np.cumsum(counts)[loaded] - 1
    first = last + 1 - counts[loaded]
    ending = [segments.voltage_v[load.at[np.maximum(last - back, first)]] for back in range(END_SAMPLES)]
    found["end_v"][loaded] = np.fmin.reduce(ending)

    onset = load.at[_onsets(load, first, last)]
    before = np.maximum(onset - 1, 0)
    preceded = onset > segments.starts[loaded]
    step_v = segments.voltage_v[before] - segments.voltage_v[onset]
    step_a = segments.current_a[before] - segments.current_a[onset]
    near = segments.time_s[onset] - segments.time_s[before] <= ONSET_S
    found["onset_ohm"][loaded] = np.where(preceded & near, step_v / step_a, np.nan)
    found["start_v"][loaded] = np.where(preceded, segments.voltage_v[before], np.nan)
    return found


def _onsets(load: Load, first: Places, last: Places) -> Places:
    """Which of the load's samples begins the discharge of each loaded segment: pulses that draw nothing do not.

    The run under load in which the charge drawn passes `ONSET_SHARE` of the whole.
    """
    begins = np.flatnonzero(np.append(True, ~load.steady[:-1]))
    charge_as = np.nan_to_num(load.charge_as, nan=0.0)
    passing = first.copy()
    for segment, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        drawn = charge_as[start : end + 1].cumsum()
        passing[segment] = min(start + int(drawn.searchsorted(ONSET_SHARE * drawn[-1], side="right")), end)
    runs = begins[np.searchsorted(begins, passing, side="right") - 1]
    return np.asarray(np.maximum(runs, first))
