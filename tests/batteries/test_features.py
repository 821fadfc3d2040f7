import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from batteries import segments
from batteries.cycles import discharge_capacities_ah
from batteries.discharging import EARLY_S
from batteries.features import FEATURE_NAMES, SCALE_FLOORS, cycle_features, recording_features
from batteries.matfiles.reader import read
from batteries.samples import synthetic_cell

LOAD_STARTS_S = 7860.0  # of the cycle in conftest
CHARGES = {name for name in FEATURE_NAMES if "throughput" in name or "band" in name}
SCALED = {"charge_c_rate", "cc_slope_v", "load_c_rate", "load_resistance_v", *CHARGES}
COLUMNS = ("time_s", "voltage_v", "current_a", "temperature_c")


def named(cycle, nominal_capacity_ah=2.0):
    return dict(zip(FEATURE_NAMES, cycle_features(cycle, nominal_capacity_ah).tolist(), strict=True))


def unknown(features):
    return {name for name, value in features.items() if np.isnan(value)}


def without(cycle, *columns):
    return replace(cycle, **{column: np.full(len(cycle), np.nan) for column in columns})


def constant_voltage_cycle():
    """1 A for an hour up to 4.2 V, then the current halves every 600 s for an hour; no discharge."""
    constant_s = np.arange(0.0, 3600.0, 30.0)
    tail_s = np.arange(0.0, 3601.0, 30.0)
    time_s = np.concatenate([constant_s, 3600.0 + tail_s])
    voltage = np.concatenate([3.2 + constant_s / 3600.0, np.full(tail_s.size, 4.2)])
    current = np.concatenate([np.ones(constant_s.size), 0.5 ** (tail_s / 600.0)])
    base = synthetic_cell(cycles=1).cycles[0]
    return replace(base, time_s=time_s, voltage_v=voltage, current_a=current, temperature_c=np.full(time_s.size, 25.0))


class TestValues:
    def test_of_a_charge_at_one_ampere_from_3_2_to_4_2_volt_in_two_hours(self, make_cycle):
        features = named(make_cycle())
        assert features["charge_start_v"] == pytest.approx(3.2)
        assert features["charge_c_rate"] == pytest.approx(0.5)
        assert features["charge_throughput"] == pytest.approx(1.0)
        assert features["charge_temperature_rise_c"] == pytest.approx(1.0)
        # 2 Ah a volt: a tenth of a volt takes 0.2 Ah, a tenth of the nominal capacity
        assert features["cc_band_30_20"] == pytest.approx(0.1, abs=1e-5)
        assert features["cc_band_20_10"] == pytest.approx(0.1, abs=1e-5)
        assert features["cc_band_10_05"] == pytest.approx(0.05, abs=1e-5)
        assert features["cc_band_05_01"] == pytest.approx(0.04, abs=1e-5)
        # 98 % of the samples lie below 3.2 + 0.98 V: that is the limit; from 0.3 V below it to 4.2 V are 0.32 V
        assert features["charge_end_throughput"] == pytest.approx(0.32, abs=0.01)
        # the load says 0.1 ohm: at 1 A the cell would rest 0.1 V lower; 0.45 V below the 119th of 121 samples, 4.1833 V
        assert features["charge_open_throughput"] == pytest.approx(4.2 - (4.18333 - 0.45 + 0.1), abs=1e-4)
        assert features["cc_throughput"] == pytest.approx(0.97, abs=0.01)
        assert features["cc_duration_h"] == pytest.approx(2 * 0.97, abs=0.02)
        assert features["cc_slope_v"] == pytest.approx(1.0)
        # evenly from 0.3 to 0.01 V: mean and standard deviation of an even distribution
        assert features["cc_below_top_mean_v"] == pytest.approx(0.155, abs=0.006)
        assert features["cc_below_top_std_v"] == pytest.approx(0.29 / 12**0.5, abs=0.003)
        assert features["cc_below_top_skewness"] == pytest.approx(0.0, abs=0.02)
        assert features["cc_below_top_kurtosis"] == pytest.approx(-1.2, abs=0.02)
        assert features["cc_below_top_entropy"] == pytest.approx(np.log(10), abs=0.02)

    def test_of_the_first_twenty_minutes_of_a_load(self, make_cycle):
        features = named(make_cycle())
        assert features["load_c_rate"] == pytest.approx(0.5)
        assert features["load_resistance_v"] == pytest.approx(
            0.2
        )  # from 4.1 to 4.0 V at 1 A: 0.1 ohm at a C-rate of 2 A
        assert [features[f"load_fall_{part}_v"] for part in ("05_25", "25_50", "50_75", "75_100")] == pytest.approx(
            [0.04, 0.05, 0.05, 0.05], abs=1e-6
        )
        assert features["load_v_100"] == pytest.approx(3.8)
        assert features["load_temperature_rise_c"] == pytest.approx(2.0)
        # charge ends at 7200 s, load starts at 7860 s
        assert features["rest_before_load_h"] == pytest.approx(np.log10(1 + 660 / 3600), rel=1e-5)

    def test_of_a_current_that_halves_every_ten_minutes(self):
        features = named(constant_voltage_cycle())
        # from 0.8 to 0.2 of the constant current are two halvings
        assert features["cv_fall_h"] == pytest.approx(1200 / 3600, rel=0.01)
        # integral of 0.5^(t/600) over an hour: 600 / ln 2 * (1 - 2^-6) As
        taken_ah = 600 / np.log(2) * (1 - 2.0**-6) / 3600
        assert features["cv_throughput"] == pytest.approx(taken_ah / 2.0, rel=0.05)
        assert features["cv_share"] == pytest.approx(taken_ah / (1 + taken_ah), rel=0.05)
        assert unknown(features) >= {"load_v_100", "load_c_rate"}

    def test_a_pause_in_the_charge_takes_no_charge(self, make_cycle):
        cycle = make_cycle()
        current = cycle.current_a.copy()
        current[60] = 0.0
        paused = replace(cycle, current_a=current, time_s=cycle.time_s + 36000.0 * (np.arange(len(cycle)) > 60))
        # two of the 120 minutes lie beside the sample at rest
        assert named(paused)["charge_throughput"] == pytest.approx(118 / 120)
        assert named(paused)["cc_duration_h"] == pytest.approx(2 * 0.97 + 10, abs=0.02)

    def test_a_gap_in_logging_takes_no_charge(self, make_cycle):
        cycle = make_cycle()
        gone = named(replace(cycle, time_s=cycle.time_s + 36000.0 * (np.arange(len(cycle)) > 60)))
        # one of the 120 minutes has become ten hours that nobody saw
        assert gone["charge_throughput"] == pytest.approx(119 / 120)
        assert gone["charge_c_rate"] == pytest.approx(0.5)
        assert gone["cc_duration_h"] == pytest.approx(2 * 0.97 + 10, abs=0.02)

    def test_a_gap_in_logging_draws_nothing_of_the_early_window(self, make_cycle):
        cycle = make_cycle()
        gone = replace(cycle, time_s=cycle.time_s + 660.0 * (cycle.time_s > LOAD_STARTS_S + 300.0))
        # a third of 0.6 Ah is drawn after 720 s at 1 A; of 1200 s 720 are not known: 4.0 V and 540 s under load
        assert named(cycle, 0.6)["load_v_100"] == pytest.approx(4.0 - 0.1 * 720 / 600)
        assert named(gone, 0.6)["load_v_100"] == pytest.approx(4.0 - 0.1 * 540 / 600)

    @pytest.mark.parametrize("samples", [1, 2, 3])
    def test_a_load_of_the_cycler_before_the_charge_is_not_the_discharge(self, make_cycle, samples):
        cycle = make_cycle()
        current = cycle.current_a.copy()
        current[1 : 1 + samples] = -3.4
        pulsed = named(replace(cycle, current_a=current))
        assert pulsed["load_v_100"] == pytest.approx(3.8)
        # the charge is whole but for the minutes in the pulse and beside it
        assert pulsed["charge_throughput"] == pytest.approx((119 - samples) / 120)

    def test_a_single_voltage_far_off_does_not_move_the_limit(self, make_cycle):
        cycle = make_cycle()
        voltage = cycle.voltage_v.copy()
        voltage[20] = 8.39
        assert named(replace(cycle, voltage_v=voltage))["cc_band_10_05"] == pytest.approx(0.05, abs=1e-5)

    def test_cells_of_different_size_at_the_same_rates_have_the_same_features(self):
        small, large = (synthetic_cell(cycles=1, nominal_capacity_ah=size, seed=3).cycles[0] for size in (1.0, 3.0))
        features, others = cycle_features(small, 1.0), cycle_features(large, 3.0)
        assert features == pytest.approx(others, rel=0.02, abs=0.1, nan_ok=True)


class TestLeakage:
    """What happens after the first twenty minutes of the discharge must not be seen."""

    @pytest.fixture
    def late(self, make_cycle):
        cycle = make_cycle()
        return cycle, cycle.time_s > LOAD_STARTS_S + EARLY_S

    @pytest.mark.parametrize("nominal", [2.0, None])
    def test_later_samples_may_be_anything(self, late, nominal):
        cycle, rows = late
        random = np.random.default_rng(0)
        columns = {
            name: np.where(rows, random.normal(3.0, 200.0, len(cycle)), getattr(cycle, name))
            for name in ("voltage_v", "current_a", "temperature_c")
        }
        before, after = cycle_features(cycle, nominal), cycle_features(replace(cycle, **columns), nominal)
        assert np.array_equal(before, after, equal_nan=True)

    @pytest.mark.parametrize("nominal", [2.0, None])
    def test_later_samples_may_come_at_any_time(self, late, nominal):
        cycle, rows = late
        last = cycle.time_s[~rows][-1]
        for later in (last + 1e6 + np.arange(rows.sum()), np.linspace(0.0, last, rows.sum())):  # the clock may run back
            time_s = cycle.time_s.copy()
            time_s[rows] = later
            first = np.flatnonzero(rows)[0]
            time_s[first] = LOAD_STARTS_S + EARLY_S + 1.0
            before, after = cycle_features(cycle, nominal), cycle_features(replace(cycle, time_s=time_s), nominal)
            assert np.array_equal(before, after, equal_nan=True)

    @pytest.mark.parametrize("nominal", [2.0, None])
    def test_later_samples_may_be_missing(self, late, nominal):
        cycle, rows = late
        columns = {name: getattr(cycle, name)[~rows] for name in ("time_s", "voltage_v", "current_a", "temperature_c")}
        before, after = cycle_features(cycle, nominal), cycle_features(replace(cycle, **columns), nominal)
        assert np.array_equal(before, after, equal_nan=True)

    def test_a_longer_discharge_has_the_same_features(self, make_cycle):
        short, long = make_cycle(load_s=3000.0), make_cycle(load_s=9000.0)
        assert np.array_equal(cycle_features(short, 2.0), cycle_features(long, 2.0), equal_nan=True)

    def test_the_recorded_capacity_is_not_looked_at(self, make_cycle):
        one, other = make_cycle(recorded_capacity_ah=1.0), make_cycle(recorded_capacity_ah=2.0)
        assert np.array_equal(cycle_features(one, 2.0), cycle_features(other, 2.0), equal_nan=True)

    def test_a_fast_discharge_is_left_after_a_third_of_the_nominal_capacity(self, make_cycle):
        # 4 A draw a third of 2 Ah in 600 s, long before twenty minutes have passed
        fast = make_cycle(load_a=4.0, load_s=1800.0)
        rows = fast.time_s > LOAD_STARTS_S + 660.0
        ended = replace(fast, voltage_v=np.where(rows, 2.0, fast.voltage_v))
        assert np.array_equal(cycle_features(fast, 2.0), cycle_features(ended, 2.0), equal_nan=True)
        assert named(fast)["load_v_100"] == pytest.approx(3.9, abs=1e-4)

    def test_a_load_that_ends_early_gives_no_voltages_of_the_window(self, make_cycle):
        assert unknown(named(make_cycle(load_s=300.0))) >= {"load_fall_05_25_v", "load_v_100", "load_fall_75_100_v"}


class TestUnknown:
    def test_without_temperature_only_temperatures_are_unknown(self, make_cycle):
        cycle = make_cycle()
        missing = unknown(named(without(cycle, "temperature_c"))) - unknown(named(cycle))
        assert missing == {name for name in FEATURE_NAMES if "temperature" in name}

    def test_with_voltage_and_current_alone_voltages_rates_and_shapes_are_known(self, make_cycle):
        features = named(without(make_cycle(), "time_s", "temperature_c"))
        known = set(FEATURE_NAMES) - unknown(features)
        assert {"charge_start_v", "charge_c_rate", "cc_below_top_mean_v", "cc_below_top_std_v", "load_rest_v"} <= known
        assert not {name for name in known if name.endswith("_h") or name in CHARGES}

    def test_without_a_nominal_capacity_what_it_scales_is_unknown(self, make_cycle):
        cycle = make_cycle()
        missing = unknown(named(cycle, None)) - unknown(named(cycle))
        assert missing == SCALED - unknown(named(cycle))

    def test_without_a_charge_the_load_is_still_known(self, make_cycle):
        cycle = make_cycle()
        rows = cycle.time_s > 7200.0
        load = replace(
            cycle,
            **{name: getattr(cycle, name)[rows] for name in ("time_s", "voltage_v", "current_a", "temperature_c")},
        )
        features = named(load)
        assert features["load_v_100"] == pytest.approx(3.8)
        assert unknown(features) >= {name for name in FEATURE_NAMES if name.startswith(("charge_", "cc_", "cv_"))}

    def test_samples_that_are_unknown_are_passed_over(self, make_cycle):
        cycle = make_cycle()
        voltage = cycle.voltage_v.copy()
        voltage[[30, 130]] = np.nan
        gaps, whole = named(replace(cycle, voltage_v=voltage)), named(cycle)
        assert gaps["load_v_100"] == pytest.approx(whole["load_v_100"])
        assert gaps["charge_throughput"] == pytest.approx(whole["charge_throughput"])

    @pytest.mark.parametrize("n", [0, 1, 2, 3])
    def test_a_cycle_of_a_few_samples_has_no_features_and_raises_nothing(self, make_cycle, n):
        cycle = make_cycle()
        few = replace(
            cycle, **{name: getattr(cycle, name)[:n] for name in ("time_s", "voltage_v", "current_a", "temperature_c")}
        )
        assert unknown(named(few)) >= {"charge_throughput", "load_v_100"}

    def test_a_cycle_of_nan_has_no_features(self, make_cycle):
        nothing = without(make_cycle(), "voltage_v", "current_a", "time_s", "temperature_c")
        assert unknown(named(nothing)) == set(FEATURE_NAMES)

    @pytest.mark.parametrize("absurd", [1e300, -1e300, 1e-300])
    @pytest.mark.parametrize("column", ["time_s", "voltage_v", "current_a", "temperature_c"])
    def test_absurd_numbers_give_unknown_features_and_never_infinite_ones(self, make_cycle, column, absurd):
        cycle = make_cycle()
        values = getattr(cycle, column).copy()
        values[[20, 60, 125, 130]] = absurd
        assert not np.isinf(cycle_features(replace(cycle, **{column: values}), 2.0)).any()


class TestUse:
    def test_one_float32_a_name_and_no_name_twice(self, make_cycle):
        features = cycle_features(make_cycle(), 2.0)
        assert features.dtype == np.float32
        assert features.shape == (len(FEATURE_NAMES),)
        assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)

    def test_every_feature_has_a_floor_of_its_scale(self):
        assert set(SCALE_FLOORS) == set(FEATURE_NAMES)
        assert all(floor > 0 for floor in SCALE_FLOORS.values())

    def test_no_feature_is_infinite_on_real_cells(self, nasa):
        for cell in ("B0025", "B0038", "B0049", "B0050"):
            features = recording_features(read(nasa(cell)).cycles, 2.0)
            assert not np.isinf(features).any()

    def test_voltage_under_load_tells_a_real_cells_health(self, nasa):
        recording = read(nasa("B0005"))
        soh = discharge_capacities_ah(recording) / 2.0
        voltage = recording_features(recording.cycles, 2.0)[:, FEATURE_NAMES.index("load_v_100")]
        assert np.corrcoef(voltage, soh)[0, 1] > 0.98

    def test_importing_them_imports_no_heavy_library(self):
        code = "import sys, batteries.features, batteries.labels, batteries.cycles, batteries.matfiles.reader\n"
        code += "print([m for m in ('scipy', 'pandas', 'h5py', 'torch') if m in sys.modules])"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[]"


def plain(cycle, nominal):
    """Some of the features, cycle by cycle and in full resolution, for a charge that is followed by its discharge."""
    loaded = cycle.current_a < -0.05 * nominal
    load = int(np.argmax(loaded[:-2] & loaded[1:-1] & loaded[2:]))  # the cycler's pulses are shorter
    charging = np.flatnonzero(cycle.current_a[:load] > 0.008 * nominal)
    time_s, volts, amperes = (getattr(cycle, name)[charging] for name in ("time_s", "voltage_v", "current_a"))
    top = np.sort(volts)[round(0.98 * (volts.size - 1))]
    taken = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * (amperes[1:] + amperes[:-1]) / 2)]) / 3600 / nominal
    limit = int(np.argmax(volts >= top - 0.01))
    held, held_s = amperes[limit:], time_s[limit:]
    weights = np.gradient(held_s) * np.append(np.insert(np.ones(held.size - 2), 0, 0.5), 0.5)
    rate = np.trapezoid(amperes[:limit], time_s[:limit]) / (time_s[limit - 1] - time_s[0])
    shares = np.clip(held / rate, 0, 1.2)
    early_s = cycle.time_s[load:] - cycle.time_s[load]
    voltage = np.interp(np.array([0.05, 0.25, 0.5, 0.75, 1.0]) * 1200, early_s, cycle.voltage_v[load:])
    at = [np.interp(top - below, volts[: limit + 1], taken[: limit + 1]) for below in (0.3, 0.2, 0.1, 0.05, 0.01)]
    return {
        "charge_c_rate": rate / nominal,
        "charge_throughput": taken[-1],
        "charge_end_throughput": taken[-1] - at[0],
        "charge_temperature_rise_c": (cycle.temperature_c[charging] - cycle.temperature_c[charging[0]]).max(),
        "cc_throughput": at[4],
        "cc_band_30_20": at[1] - at[0],
        "cc_band_20_10": at[2] - at[1],
        "cv_current_mean": np.average(shares, weights=weights),
        "cv_fall_h": np.diff(np.interp([-0.8, -0.2], -shares, held_s))[0] / 3600,
        **dict(zip(("load_fall_05_25_v", "load_fall_25_50_v", "load_fall_50_75_v"), -np.diff(voltage), strict=False)),
        "load_v_100": voltage[-1],
        "rest_before_load_h": np.log10(1 + (cycle.time_s[load] - time_s[-1]) / 3600),
    }


class TestManyAtOnce:
    def test_features_of_a_cycle_are_those_it_has_alone(self, make_cycle, monkeypatch):
        monkeypatch.setattr(segments, "BLOCK_SAMPLES", 400)  # several blocks
        empty = replace(make_cycle(), **{name: np.empty(0) for name in COLUMNS})
        cycles = [
            make_cycle(),
            empty,
            without(make_cycle(), "time_s"),
            *synthetic_cell(cycles=5).cycles,
            without(make_cycle(), "voltage_v"),
            constant_voltage_cycle(),
            make_cycle(load_a=4.0, load_s=1800.0),
            empty,
        ]
        for nominal in (2.0, None):
            together = recording_features(cycles, nominal)
            alone = [cycle_features(cycle, nominal) for cycle in cycles]
            assert together == pytest.approx(np.array(alone), rel=1e-5, abs=1e-7, nan_ok=True)

    def test_absurd_numbers_in_one_cycle_touch_no_other(self, make_cycle):
        cycle = make_cycle()
        absurd = replace(cycle, current_a=1e290 * cycle.current_a)
        assert np.array_equal(recording_features([absurd, cycle], 2.0)[1], cycle_features(cycle, 2.0), equal_nan=True)

    def test_no_cycles_have_no_features(self):
        assert recording_features([], 2.0).shape == (0, len(FEATURE_NAMES))

    def test_they_are_those_of_a_plain_loop_over_a_real_cells_cycles(self, nasa):
        cycles = read(nasa("B0005")).cycles[2:30:4]
        together = recording_features(cycles, 2.0)
        for features, cycle in zip(together, cycles, strict=True):
            expected = plain(cycle, 2.0)
            found = dict(zip(FEATURE_NAMES, features.tolist(), strict=True))
            for name, value in expected.items():
                # of a charge of 3000 samples, one in twelve is kept
                tolerance = {"charge_temperature_rise_c": 0.05, "cv_current_mean": 0.006}.get(name, 0.003)
                assert found[name] == pytest.approx(value, rel=0.02, abs=tolerance), name

    def test_a_long_charge_is_thinned_and_a_pause_in_it_stays_one(self, make_cycle):
        cycle = make_cycle()
        dense_s = np.arange(0.0, 7200.5, 0.5)
        charged = cycle.time_s <= 7200.0
        known_s = cycle.time_s[charged]
        columns = {
            name: np.append(np.interp(dense_s, known_s, getattr(cycle, name)[charged]), getattr(cycle, name)[~charged])
            for name in COLUMNS
        }
        dense = replace(cycle, **columns)
        assert cycle_features(dense, 2.0) == pytest.approx(cycle_features(cycle, 2.0), rel=0.02, abs=0.02, nan_ok=True)
        current = dense.current_a.copy()
        current[7000] = 0.0
        paused = replace(dense, current_a=current, time_s=dense.time_s + 36000.0 * (np.arange(len(dense)) > 7000))
        # the pause is met by one of the steps between the samples kept, at most 28 s long
        assert named(paused)["charge_throughput"] == pytest.approx(1.0, abs=60 / 7200)
