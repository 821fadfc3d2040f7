"""Features of health of one cycle, known before its discharge is over.

They come from the charge and from the first `EARLY_S` seconds of the discharge (or the first third of the nominal
capacity, where a high rate draws that sooner). Nothing after that is looked at: no capacity, no duration of the
discharge. Charges are shares of the nominal capacity and currents C-rates, so that cells of different sizes compare.

What cannot be known is NaN: without time every duration and charge, and all of the discharge but its start; without
temperature the temperatures; without a nominal capacity what is scaled by it. Statistics weigh samples by the time they
stand for, all alike where there is no time.

Charge-segment statistics follow F. Wang et al., Nature Communications 15:4332 (2024); voltage bands below the limit
are the integral form of incremental capacity, dQ/dV (M. Dubarry et al., Journal of Power Sources 219, 2012).
docs/features.md has every formula.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.recordings import Cycle
from batteries.statistics import (
    SECONDS_PER_HOUR,
    cumulative_charge_ah,
    first_crossing,
    first_known,
    moments,
    rise,
    slope,
    time_weights,
    weighted_mean,
)

Floats = NDArray[np.float64]

FEATURE_VERSION = 1

CHARGE_FEATURES = (
    "charge_c_rate",  # median current of the constant-current phase / nominal, 1/h
    "charge_top_v",  # voltage limit of the charge, V
    "charge_start_v",  # first voltage of the charge, V
    "charge_duration_h",
    "charge_throughput",  # charge taken / nominal
    "charge_temperature_mean_c",
    "charge_temperature_rise_c",
    "charge_resistance_v",  # step of the voltage per step of the C-rate when the charge comes on, V
)
CONSTANT_CURRENT_FEATURES = (
    "cc_duration_h",
    "cc_throughput",  # charge taken before the limit / nominal
    "cc_band_3",  # charge taken from 0.3 to 0.2 V below the limit / nominal
    "cc_band_2",  # from 0.2 to 0.1 V
    "cc_band_1",  # from 0.1 to 0.01 V
    "cc_below_top_mean_v",  # limit - voltage within 0.3 V of the limit
    "cc_below_top_std_v",
    "cc_below_top_skewness",
    "cc_below_top_kurtosis",
    "cc_below_top_entropy",
)
CONSTANT_VOLTAGE_FEATURES = (
    "cv_duration_h",
    "cv_throughput",  # charge taken at the limit / nominal
    "cv_share",  # of the whole charge
    "cv_fall_h",  # time in which the current falls from 0.8 to 0.2 of the constant one
    "cv_current_mean",  # current / constant current
    "cv_current_std",
    "cv_current_skewness",
    "cv_current_kurtosis",
    "cv_current_entropy",
)
DISCHARGE_FEATURES = (
    "rest_before_load_h",  # log10(1 + hours) between the end of the charge and the load
    "load_c_rate",  # median current of the early load / nominal, 1/h
    "load_rest_v",  # voltage before the load
    "load_drop_v",  # its fall when the load comes on
    "load_resistance_v",  # that fall per C-rate, V
    "load_v_05",  # voltage when 5 % of the early window has passed
    "load_v_25",
    "load_v_50",
    "load_v_100",
    "load_v_slope",  # of the voltage over the charge drawn / nominal, second half of the window, V
    "load_temperature_start_c",
    "load_temperature_rise_c",
)
FEATURE_NAMES: tuple[str, ...] = (
    CHARGE_FEATURES + CONSTANT_CURRENT_FEATURES + CONSTANT_VOLTAGE_FEATURES + DISCHARGE_FEATURES
)

EARLY_S = 1200.0
EARLY_SHARE = 1.0 / 3.0  # of the nominal capacity
EARLY_POINTS = (0.05, 0.25, 0.5, 1.0)
CHARGING_SHARE = 0.008  # of the scale current: less is rest; a charge may taper to a hundredth of the C-rate
LOAD_SHARE = 0.05  # of the scale current
LOAD_SAMPLES = 5
PHASE_STEP_V = 0.01  # the constant-voltage phase begins this close to the limit
NEAR_TOP_V = 0.3
MIN_SAMPLES = 5

Values = dict[str, float]


@dataclass(frozen=True)
class _Samples:
    """Samples (n,) whose voltage and current are known. `time_s` is NaN throughout where it is not known."""

    time_s: Floats
    voltage: Floats
    current: Floats
    temperature: Floats

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> "_Samples":
        return _Samples(self.time_s[rows], self.voltage[rows], self.current[rows], self.temperature[rows])

    def __len__(self) -> int:
        return self.voltage.size

    @property
    def timed(self) -> bool:
        return bool(self.time_s.size) and bool(np.isfinite(self.time_s).all())


def cycle_features(cycle: Cycle, nominal_capacity_ah: float | None) -> NDArray[np.float32]:
    """Features (F,) of one cycle in the order of `FEATURE_NAMES`, NaN where unknown."""
    with np.errstate(all="ignore"):  # what overflows or divides by nothing is unknown, below
        values = _features(_known_samples(cycle), np.nan if nominal_capacity_ah is None else float(nominal_capacity_ah))
        features = np.array([values.get(name, np.nan) for name in FEATURE_NAMES], dtype=np.float32)
    features[~np.isfinite(features)] = np.nan
    return features


def _features(samples: _Samples, nominal: float) -> Values:
    values: Values = {}
    if len(samples) >= 2:
        start = _load_start(samples, nominal)
        before = samples[:start]
        charging = before.current > CHARGING_SHARE * _scale_current(before.current, nominal)
        charge = before[charging]
        if len(charge) >= MIN_SAMPLES:
            values |= _charge_features(charge, before, charging, nominal)
        if start < len(samples):
            values |= _discharge_features(samples, start, charge, nominal)
    return values


def _known_samples(cycle: Cycle) -> _Samples:
    """Samples with a voltage and a current; untimed ones are dropped where others are timed."""
    known = np.isfinite(cycle.voltage_v) & np.isfinite(cycle.current_a)
    timed = np.isfinite(cycle.time_s)
    if timed.any():
        known &= timed
    return _Samples(cycle.time_s[known], cycle.voltage_v[known], cycle.current_a[known], cycle.temperature_c[known])


def _scale_current(current: Floats, nominal: float) -> float:
    """What a current is called small against: the nominal capacity in an hour, else the largest one."""
    if np.isfinite(nominal):
        return nominal
    return float(np.abs(current).max()) if current.size else 0.0


def _load_start(samples: _Samples, nominal: float) -> int:
    """Position of the first sample under load, n where there is none.

    Cyclers pulse the cell before they charge it, so at least two of `LOAD_SAMPLES` samples have to be loaded and none
    charged. Without a nominal capacity a load is measured against the currents before it: what comes later is not
    looked at.
    """
    current = samples.current
    scale = np.full(current.size, nominal) if np.isfinite(nominal) else np.maximum.accumulate(np.abs(current))
    loaded = current < -LOAD_SHARE * scale
    charging = current > LOAD_SHARE * scale
    for at in np.flatnonzero(loaded).tolist():
        ahead = slice(at, at + LOAD_SAMPLES)
        if not charging[ahead].any() and loaded[ahead].sum() >= min(2, current.size - at):
            return int(at)
    return len(samples)


def _charge_features(charge: _Samples, before: _Samples, charging: NDArray[np.bool_], nominal: float) -> Values:
    """Features of the charge, its constant-current and its constant-voltage phase. Pauses in it take no charge."""
    top = float(np.percentile(charge.voltage, 98))  # not the largest: single samples can be far off
    reached = np.flatnonzero(charge.voltage >= top - PHASE_STEP_V)
    limit_at = int(reached[0])
    constant = charge.current[: max(limit_at, 1)]
    rate = float(np.median(constant))
    taken = cumulative_charge_ah(before.time_s, before.current, charging)[charging]
    hours = (charge.time_s - charge.time_s[0]) / SECONDS_PER_HOUR
    values = {
        "charge_c_rate": rate / nominal,
        "charge_top_v": top,
        "charge_start_v": float(charge.voltage[0]),
        "charge_duration_h": float(hours[-1]),
        "charge_throughput": float(taken[-1]) / nominal,
        "charge_temperature_mean_c": weighted_mean(charge.temperature, time_weights(charge.time_s)),
        "charge_temperature_rise_c": rise(charge.temperature),
        "charge_resistance_v": _step_resistance_ohm(before, int(np.argmax(charging))) * nominal,
        "cc_duration_h": float(hours[limit_at]),
        "cc_throughput": float(taken[limit_at]) / nominal,
    }
    values |= _below_top(charge[: limit_at + 1], taken[: limit_at + 1] / nominal, top)
    if charge.current[-1] < 0.9 * rate and len(charge) - limit_at >= MIN_SAMPLES:
        values |= _constant_voltage(charge[limit_at:], taken[limit_at:], float(taken[-1]), rate, nominal)
    return values


def _step_resistance_ohm(before: _Samples, first: int) -> float:
    """Step of the voltage over that of the current where the charge comes on, NaN where it begins the record."""
    if not first:
        return np.nan
    step_v = before.voltage[first] - before.voltage[first - 1]
    return float(step_v / (before.current[first] - before.current[first - 1]))


def _below_top(phase: _Samples, taken: Floats, top: float) -> Values:
    """Charge by voltage band below the limit, and how the voltage spends its time there."""
    rising = np.maximum.accumulate(phase.voltage)
    edges = [first_crossing(rising, top - below, taken) for below in (0.3, 0.2, 0.1, PHASE_STEP_V)]
    values = {
        "cc_band_3": edges[1] - edges[0],
        "cc_band_2": edges[2] - edges[1],
        "cc_band_1": edges[3] - edges[2],
    }
    near = (phase.voltage >= top - NEAR_TOP_V) & (phase.voltage <= top)
    if near.sum() >= MIN_SAMPLES:
        values |= moments("cc_below_top", "_v", top - phase.voltage[near], time_weights(phase.time_s)[near], NEAR_TOP_V)
    return values


def _constant_voltage(phase: _Samples, taken: Floats, whole: float, rate: float, nominal: float) -> Values:
    """How the current dies away at the voltage limit."""
    current = np.clip(phase.current / rate, 0.0, 1.2)
    hours = (phase.time_s - phase.time_s[0]) / SECONDS_PER_HOUR
    weights = time_weights(phase.time_s)
    charge = float(taken[-1] - taken[0])
    falling = -np.minimum.accumulate(current)
    fall = first_crossing(falling, -0.2, hours) - first_crossing(falling, -0.8, hours)
    return {
        "cv_duration_h": float(hours[-1]),
        "cv_throughput": charge / nominal,
        "cv_share": charge / whole if whole > 0 else np.nan,
        "cv_fall_h": fall,
        **moments("cv_current", "", current, weights, 1.0),
    }


def _discharge_features(samples: _Samples, start: int, charge: _Samples, nominal: float) -> Values:
    """Features of the load's beginning."""
    values: Values = {}
    resting = float(samples.voltage[start - 1]) if start else np.nan
    values["load_rest_v"] = resting
    if not samples.timed:
        return values
    if len(charge):
        rest_h = max(float(samples.time_s[start] - charge.time_s[-1]), 0.0) / SECONDS_PER_HOUR
        values["rest_before_load_h"] = float(np.log10(1.0 + rest_h))
    early, drawn = _early_load(samples[start:], nominal)
    load = -early.current
    loaded = load > 0.5 * float(np.median(load))
    rate = float(np.median(load[loaded])) if loaded.any() else np.nan
    on = int(np.argmax(load >= 0.8 * rate))
    drop = resting - float(early.voltage[on])
    values |= {
        "load_c_rate": rate / nominal,
        "load_drop_v": drop,
        "load_resistance_v": drop * nominal / float(load[on]),
        "load_temperature_start_c": first_known(early.temperature),
        "load_temperature_rise_c": rise(early.temperature),
    }
    passed = early.time_s - early.time_s[0]
    window = _window_s(passed, drawn, nominal)
    if np.isfinite(window) and loaded.sum() >= MIN_SAMPLES:
        for share in EARLY_POINTS:
            voltage = np.interp(share * window, passed[loaded], early.voltage[loaded])
            values[f"load_v_{round(100 * share):02d}"] = float(voltage)
        late = loaded & (passed >= window / 2.0)
        values["load_v_slope"] = slope(drawn[late] / nominal, early.voltage[late])
    return values


def _early_load(load: _Samples, nominal: float) -> tuple[_Samples, Floats]:
    """The samples of the early window, and the charge (Ah) drawn up to each."""
    early = load[load.time_s <= load.time_s[0] + EARLY_S]
    drawn = -cumulative_charge_ah(early.time_s, early.current)
    if np.isfinite(nominal):
        inside = np.append(True, drawn[:-1] < EARLY_SHARE * nominal)
        return early[inside], drawn[inside]
    return early, drawn


def _window_s(passed: Floats, drawn: Floats, nominal: float) -> float:
    """Length (s) of the early window, NaN where the load did not last that long."""
    if np.isfinite(nominal) and drawn[-1] >= EARLY_SHARE * nominal:
        return float(np.interp(EARLY_SHARE * nominal, drawn, passed))
    return EARLY_S if passed[-1] >= 0.9 * EARLY_S else np.nan
