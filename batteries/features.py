"""Features of health of each cycle, known before its discharge is over.

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

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from batteries.charging import charge_features
from batteries.discharging import discharge_features, load_starts
from batteries.recordings import Cycle
from batteries.segments import Flags, Floats, Places, Segments, blocks, known_samples
from batteries.statistics import phase

FEATURE_VERSION = 3  # of the features' meaning, and of the scalars' (`batteries.cycles`)

CHARGE_FEATURES = (
    "charge_c_rate",  # mean current before the limit / nominal, 1/h
    "charge_start_v",  # first voltage of the charge, V
    "charge_throughput",  # charge taken / nominal
    "charge_open_throughput",  # charge taken from an open-circuit voltage 0.45 V below the limit to the end / nominal
    "charge_end_throughput",  # charge taken from 0.3 V below the limit to the end / nominal
    "charge_temperature_mean_c",
    "charge_temperature_rise_c",
)
CONSTANT_CURRENT_FEATURES = (
    "cc_duration_h",
    "cc_throughput",  # charge taken before the limit / nominal
    "cc_band_30_20",  # charge taken from 0.30 to 0.20 V below the limit / nominal
    "cc_band_20_10",
    "cc_band_10_05",
    "cc_band_05_01",
    "cc_slope_v",  # of the voltage over the charge taken / nominal, within 0.3 V of the limit, V
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
    "rest_before_load_h",  # log10(1 + hours between the end of the charge and the load)
    "load_c_rate",  # current of the early load / nominal, 1/h
    "load_rest_v",  # voltage before the load; known without time
    "load_resistance_v",  # fall of the voltage per C-rate when the load comes on, V
    "load_fall_05_25_v",  # fall of the voltage between 5 % and 25 % of the early window
    "load_fall_25_50_v",
    "load_fall_50_75_v",
    "load_fall_75_100_v",
    "load_v_100",  # voltage when the early window has passed
    "load_temperature_start_c",
    "load_temperature_rise_c",
)
FEATURE_NAMES: tuple[str, ...] = (
    CHARGE_FEATURES + CONSTANT_CURRENT_FEATURES + CONSTANT_VOLTAGE_FEATURES + DISCHARGE_FEATURES
)

# How much a feature differs between cells and test rigs without any ageing, in its unit: less spread than that among
# the cells of a training set is no reason to trust the feature more than another.
SCALE_FLOORS: dict[str, float] = {
    **dict.fromkeys(("charge_c_rate", "load_c_rate"), 0.1),
    **dict.fromkeys(("charge_start_v", "load_rest_v", "cc_slope_v"), 0.2),
    **dict.fromkeys(("cc_duration_h", "cv_duration_h"), 0.5),
    **dict.fromkeys(("charge_throughput", "charge_end_throughput", "cc_throughput", "cv_throughput"), 0.05),
    **dict.fromkeys(("charge_temperature_mean_c", "load_temperature_start_c"), 10.0),
    "charge_temperature_rise_c": 5.0,
    "charge_open_throughput": 0.02,
    **dict.fromkeys(("cc_band_30_20", "cc_band_20_10", "cc_band_10_05", "cc_band_05_01"), 0.02),
    "cc_below_top_mean_v": 0.05,
    "cc_below_top_std_v": 0.02,
    **dict.fromkeys(("cc_below_top_skewness", "cv_current_skewness"), 0.5),
    **dict.fromkeys(("cc_below_top_kurtosis", "cv_current_kurtosis"), 1.0),
    **dict.fromkeys(("cc_below_top_entropy", "cv_current_entropy"), 0.2),
    **dict.fromkeys(("cv_share", "cv_fall_h"), 0.1),
    **dict.fromkeys(("cv_current_mean", "cv_current_std"), 0.05),
    "rest_before_load_h": 1.0,
    "load_resistance_v": 0.1,
    **dict.fromkeys(("load_fall_05_25_v", "load_fall_25_50_v", "load_fall_50_75_v", "load_fall_75_100_v"), 0.005),
    "load_v_100": 0.3,
    "load_temperature_rise_c": 1.0,
}

CHARGE_SAMPLES = 256  # more are thinned: what describes a charge changes slowly
CHARGING_SHARE = 0.008  # of the scale current: less is rest; a charge may taper to a hundredth of the C-rate


def recording_features(cycles: Sequence[Cycle], nominal_capacity_ah: float | None) -> NDArray[np.float32]:
    """Features (N, F) of cycles in the order of `FEATURE_NAMES`, NaN where unknown. Each is that of its cycle alone."""
    return np.concatenate(list(feature_blocks(cycles, nominal_capacity_ah)))


def feature_blocks(cycles: Sequence[Cycle], nominal_capacity_ah: float | None) -> Iterator[NDArray[np.float32]]:
    """The same, of some cycles (n, F) after the other, each part computed when it is asked for."""
    nominal = np.nan if nominal_capacity_ah is None else float(nominal_capacity_ah)
    done = 0
    for positions, segments in blocks(cycles):
        features = _unknown(int(positions[-1]) + 1 - done)
        known, alive = known_samples(segments, "voltage_v", "current_a")
        if alive.size:
            with np.errstate(all="ignore"):  # what overflows or divides by nothing is unknown, below
                features[positions[alive] - done] = _features(known, nominal)
        features[~np.isfinite(features)] = np.nan
        done += len(features)
        yield features
    yield _unknown(len(cycles) - done)


def _unknown(count: int) -> NDArray[np.float32]:
    return np.full((count, len(FEATURE_NAMES)), np.nan, dtype=np.float32)


def cycle_features(cycle: Cycle, nominal_capacity_ah: float | None) -> NDArray[np.float32]:
    """Features (F,) of one cycle in the order of `FEATURE_NAMES`, NaN where unknown."""
    return np.asarray(recording_features([cycle], nominal_capacity_ah)[0])


def _features(segments: Segments, nominal: float) -> Floats:
    """Features (N, F) of segments whose voltages and currents are known."""
    starts = load_starts(segments, nominal)
    charging = _before(segments, starts)
    if np.isfinite(nominal):
        charging &= segments.current_a > CHARGING_SHARE * nominal
    else:  # against the largest current before the load
        largest = segments.max(np.where(charging, np.abs(segments.current_a), 0.0))
        charging &= segments.current_a > segments.spread(CHARGING_SHARE * largest)
    charge = phase(segments, np.flatnonzero(charging), most=CHARGE_SAMPLES)
    values = discharge_features(segments, starts, charge.last(charge.time_s), nominal)
    values |= charge_features(charge, nominal, values["load_resistance_v"] / nominal)
    return np.column_stack([values[name] for name in FEATURE_NAMES])


def _before(segments: Segments, starts: Places) -> Flags:
    """Whether (n,) a sample comes before the load of its segment."""
    parts = np.column_stack([starts - segments.starts, segments.lasts + 1 - starts]).ravel()
    return np.repeat(np.tile([True, False], starts.size), parts)
