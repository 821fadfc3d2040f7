from dataclasses import replace

import numpy as np
import pytest

from batteries import segments
from batteries.cycles import SCALARS, cycle_scalars, discharge_capacities_ah, early_capacity_ah
from batteries.matfiles.reader import read
from batteries.recordings import SAMPLE_COLUMNS, Cycle, Recording
from batteries.samples import synthetic_cell


def without(cycle, column):
    return replace(cycle, **{column: np.full(len(cycle), np.nan)})


def recording(*cycles, **facts):
    return Recording(cycles=cycles, layout="generic", **facts)


def scalars(cycle, nominal_capacity_ah=2.0, **facts):
    """Those of one cycle, by name."""
    found = cycle_scalars(recording(cycle, **facts), nominal_capacity_ah)
    return {name: values[0] for name, values in found.columns().items()}


def capacity(cycle, nominal_capacity_ah=None):
    return discharge_capacities_ah(recording(cycle), nominal_capacity_ah)[0]


def samples(time_s, current_a, voltage_v=3.7, temperature_c=25.0, **facts):
    shape = np.zeros(len(time_s))
    return Cycle(1, np.asarray(time_s, dtype=float), voltage_v + shape, current_a, temperature_c + shape, **facts)


def watched_closely(cycle):
    """The last sample at rest lies 5 s before the load, not a minute."""
    rest = int(np.argmax(cycle.current_a < -0.5)) - 1
    time_s = cycle.time_s.copy()
    time_s[rest] = time_s[rest + 1] - 5.0
    return replace(cycle, time_s=time_s)


def trapezoids(cycle, sign, smallest_a):
    """Ah and Wh that flow one way, sample by sample, between neighbours that both do."""
    charge = energy = 0.0
    for at in range(len(cycle) - 1):
        pair = [max(sign * cycle.current_a[at + step], 0.0) for step in (0, 1)]
        volts = (cycle.voltage_v[at] + cycle.voltage_v[at + 1]) / 2
        if min(pair) > smallest_a:
            charge += sum(pair) / 2 * (cycle.time_s[at + 1] - cycle.time_s[at]) / 3600
            energy += volts * sum(pair) / 2 * (cycle.time_s[at + 1] - cycle.time_s[at]) / 3600
    return charge, energy


class TestIntegration:
    def test_one_ampere_for_two_hours_is_two_ampere_hours_and_rest_adds_nothing(self, make_cycle):
        assert capacity(make_cycle()) == pytest.approx(2.0, abs=1e-9)

    @pytest.mark.parametrize("gap_s", [1.0, 600.0, 1e6])
    def test_time_without_samples_before_and_after_the_load_is_not_capacity(self, make_cycle, gap_s):
        whole = make_cycle()
        charge, load = whole.time_s <= 7200.0, (whole.current_a < -0.5)
        rows = charge | load
        time_s = np.append(whole.time_s[charge], 7200.0 + gap_s + whole.time_s[load] - whole.time_s[load][0])
        columns = {name: getattr(whole, name)[rows] for name in ("voltage_v", "current_a", "temperature_c")}
        assert capacity(replace(whole, time_s=time_s, **columns)) == pytest.approx(2.0, abs=1e-9)

    @pytest.mark.parametrize(("rests", "step_s", "drawn_ah"), [(1, 10.0, 2.0), (3, 10.0, 1.0), (1, 31.0, np.nan)])
    def test_a_pulsed_load_counts_with_its_edges_where_it_returns_within_a_minute(self, rests, step_s, drawn_ah):
        # 4 A in one sample, then rest: each edge is half an interval of 10 s, so 40 As a pulse; 180 or 90 of them
        pulses = np.tile([-4.0, *[0.0] * rests], 3600 // (10 * (1 + rests)) + 1)
        found = scalars(samples(step_s * np.arange(pulses.size), pulses), 2.0)
        assert found["energy_wh"] / 3.7 == pytest.approx(drawn_ah, nan_ok=True)

    @pytest.mark.parametrize(("loaded", "rests"), [(6, 6), (3, 9)])
    def test_pauses_of_a_pulsed_load_may_be_long_where_their_edges_are_sampled_closely(self, loaded, rests):
        # 2 A in 6 (3) samples 10 s apart, then rest: half an interval more at each end, so 60 s (30 s) in each 120 s
        pulses = np.tile([*[-2.0] * loaded, *[0.0] * rests], 60)
        found = scalars(samples(10.0 * np.arange(pulses.size), pulses), 2.0)
        lost_as = 2.0 * 5.0  # the first pulse begins without an edge, the last has none in which its rest ends
        expected_as = 60 * 2.0 * 10.0 * loaded - 2 * lost_as
        drawn_as = 3600.0 * found["energy_wh"] / 3.7
        assert drawn_as == pytest.approx(expected_as)

    def test_a_load_that_comes_back_after_a_long_rest_is_another_one(self):
        # 1 A for 60 s, 15 minutes of rest, 1 A for 60 s: the edges at 10 s each belong to no pulsed load
        current = np.concatenate([np.full(7, -1.0), np.zeros(90), np.full(7, -1.0)])
        found = scalars(samples(10.0 * np.arange(current.size), current), 0.2)
        assert found["energy_wh"] == pytest.approx(3.7 * 120.0 / 3600.0)

    @pytest.mark.parametrize(("way", "energy"), [(1.0, "charge_energy_wh"), (-1.0, "energy_wh")])
    def test_a_gap_in_logging_is_no_flow(self, way, energy):
        # 1 A for half an hour, five hours that nobody logged, 1 A for half an hour
        half = np.arange(0.0, 1801.0, 60.0)
        time_s = np.append(half, 1800.0 + 5 * 3600.0 + half)
        found = scalars(samples(time_s, np.full(time_s.size, way)), 1.0)
        name = "charge_capacity_ah" if way > 0 else "capacity_ah"
        assert (found[name], found[energy]) == (pytest.approx(1.0), pytest.approx(3.7))
        if way < 0:
            assert found["c_rate"] == pytest.approx(1.0)

    @pytest.mark.parametrize("way", [1.0, -1.0])
    def test_sparse_and_uneven_sampling_is_no_gap(self, way):
        # 0.1 A for 10 h at 1200 s; and 60 s, then 900 s where the voltage hardly changes, to 10 h
        even = np.arange(0.0, 36001.0, 1200.0)
        uneven = np.concatenate([np.arange(0.0, 3600.0, 60.0), np.arange(3600.0, 36001.0, 900.0)])
        for time_s in (even, uneven):
            found = scalars(samples(time_s, np.full(time_s.size, 0.1 * way)), 1.0)
            energy = found["charge_energy_wh" if way > 0 else "energy_wh"]
            assert energy == pytest.approx(3.7)

    @pytest.mark.parametrize(("recorded_ah", "believed_ah"), [(2.0, 2.0), (3.0, 1.0)])
    def test_the_recorded_capacity_may_hold_what_flowed_while_nothing_was_logged(self, recorded_ah, believed_ah):
        # 1 A for half an hour, an hour that nobody logged, 1 A for half an hour: between 1 and 2 Ah
        half = np.arange(0.0, 1801.0, 60.0)
        time_s = np.append(half, 1800.0 + 3600.0 + half)
        found = scalars(samples(time_s, np.full(time_s.size, -1.0), recorded_capacity_ah=recorded_ah), 2.0)
        assert found["capacity_ah"] == pytest.approx(believed_ah)

    def test_a_fast_charge_does_not_hide_a_slow_discharge(self):
        # 6 A for a tenth of an hour, then 0.02 A for thirty hours
        time_s = np.concatenate([np.arange(0.0, 361.0, 10.0), 400.0 + np.arange(0.0, 108001.0, 600.0)])
        current = np.concatenate([np.full(37, 6.0), np.full(181, -0.02)])
        assert capacity(samples(time_s, current), 1.1) == pytest.approx(0.6)

    def test_one_reading_far_off_makes_no_rest_of_the_load(self, make_cycle):
        cycle = make_cycle()
        current = cycle.current_a.copy()
        current[130] = -500.0
        # two of the 120 minutes hold half of 500 A; the rest of the load is not lost
        drawn = 2.0 + 499.0 / 60.0
        assert scalars(replace(cycle, current_a=current))["energy_wh"] > 3.0 * drawn

    def test_an_offset_of_the_instrument_during_a_long_rest_is_not_capacity(self, make_cycle):
        cycle = make_cycle()
        longer = replace(
            cycle,
            time_s=np.append(cycle.time_s, cycle.time_s[-1] + 1e6),
            voltage_v=np.append(cycle.voltage_v, 3.5),
            current_a=np.append(cycle.current_a, -0.001),
            temperature_c=np.append(cycle.temperature_c, 25.0),
        )
        assert capacity(longer) == capacity(cycle)
        assert scalars(longer)["charge_capacity_ah"] == pytest.approx(2.0)

    @pytest.mark.parametrize(("offset_a", "drawn_ah"), [(-0.015, 2.0), (-0.1, 4.78)])
    def test_a_small_share_of_the_load_is_rest_and_a_larger_one_is_not(self, make_cycle, offset_a, drawn_ah):
        # the rest after 1 A for two hours goes on for 100,000 s: 27.8 h
        cycle = make_cycle()
        rest_s = cycle.time_s[-1] + np.arange(60.0, 100001.0, 60.0)
        more = {"voltage_v": 3.5, "current_a": offset_a, "temperature_c": 25.0}
        columns = {name: np.append(getattr(cycle, name), np.full(rest_s.size, value)) for name, value in more.items()}
        longer = replace(cycle, time_s=np.append(cycle.time_s, rest_s), **columns)
        assert scalars(longer)["energy_wh"] / 3.43 == pytest.approx(drawn_ah, rel=0.02)

    def test_samples_without_a_current_are_bridged(self, make_cycle):
        cycle = make_cycle()
        current = cycle.current_a.copy()
        current[150:153] = np.nan
        assert capacity(replace(cycle, current_a=current)) == pytest.approx(2.0)

    @pytest.mark.parametrize("column", ["time_s", "current_a"])
    def test_is_unknown_without_time_or_current(self, make_cycle, column):
        assert np.isnan(capacity(without(make_cycle(), column)))

    def test_is_unknown_without_a_load(self, make_cycle):
        cycle = make_cycle()
        found = scalars(replace(cycle, current_a=np.abs(cycle.current_a)))
        unknown = ("capacity_ah", "energy_wh", "coulombic_efficiency", "internal_resistance_ohm", "c_rate")
        assert np.isnan([found[name] for name in unknown]).all()
        assert not found["complete"]

    def test_is_that_of_a_plain_loop_over_the_samples(self, nasa, monkeypatch):
        monkeypatch.setattr(segments, "BLOCK_SAMPLES", 9000)  # so that blocks begin and end within the record
        whole = read(nasa("B0005"))
        found = cycle_scalars(replace(whole, cycles=whole.cycles[:12]))
        for at, cycle in enumerate(whole.cycles[:12]):
            drawn, taken = trapezoids(cycle, -1, 0.04), trapezoids(cycle, 1, 0.01)
            assert (found.capacity_ah[at], found.energy_wh[at]) == pytest.approx(drawn, rel=0.005)
            assert (found.charge_capacity_ah[at], found.charge_energy_wh[at]) == pytest.approx(taken, rel=1e-9)
            if at:  # the first charge was done before
                assert found.coulombic_efficiency[at] == pytest.approx(drawn[0] / taken[0], rel=1e-9)
            assert found.duration_s[at] == pytest.approx(cycle.time_s.max() - cycle.time_s.min())
            assert found.max_temperature_c[at] == cycle.temperature_c.max()


class TestOtherScalars:
    def test_by_hand(self, make_cycle):
        found = scalars(make_cycle(), 2.5)
        # charge: 2 Ah at 3.2 to 4.2 V, 3.7 V on average; load: 2 Ah at 4.0 to 2.8 V, 3.4 V on average
        assert found["charge_capacity_ah"] == pytest.approx(2.0)
        assert found["charge_energy_wh"] == pytest.approx(7.4)
        assert found["energy_wh"] == pytest.approx(6.8)
        assert found["coulombic_efficiency"] == pytest.approx(1.0)
        assert found["c_rate"] == pytest.approx(0.4)
        assert found["duration_s"] == pytest.approx(7860.0 + 7200.0 + 1200.0)
        assert found["max_temperature_c"] == pytest.approx(37.0)
        assert found["complete"]

    def test_mean_temperature_is_over_time_and_leaves_out_what_nobody_measured(self):
        # 20 °C for an hour sampled every minute, then ten hours unsampled, then 40 °C for two hours every ten minutes
        time_s = np.concatenate([np.arange(0.0, 3601.0, 60.0), 39600.0 + np.arange(0.0, 7201.0, 600.0)])
        temperature = np.concatenate([np.full(61, 20.0), np.full(13, 40.0)])
        cycle = samples(time_s, -np.ones(74), temperature_c=temperature)
        assert scalars(cycle)["mean_temperature_c"] == pytest.approx((20.0 + 2 * 40.0) / 3)
        gaps = temperature.copy()
        gaps[[3, 70]] = np.nan
        assert scalars(replace(cycle, temperature_c=gaps))["mean_temperature_c"] == pytest.approx(100.0 / 3, rel=0.05)
        assert scalars(without(cycle, "time_s"))["mean_temperature_c"] == pytest.approx(temperature.mean())

    def test_resistance_is_the_step_of_the_voltage_where_the_load_comes_on(self, make_cycle):
        cycle = make_cycle()
        # 4.1 V at rest, 4.0 V at 1 A; but the sample at rest lies a minute before
        assert np.isnan(scalars(cycle)["internal_resistance_ohm"])
        assert scalars(watched_closely(cycle))["internal_resistance_ohm"] == pytest.approx(0.1)

    def test_a_pulse_of_the_cycler_before_the_charge_is_not_the_load(self, make_cycle):
        cycle = watched_closely(make_cycle())
        current = cycle.current_a.copy()
        current[1:3] = -1.0  # for a minute, against two hours
        pulsed = replace(cycle, current_a=current)
        assert scalars(pulsed)["internal_resistance_ohm"] == pytest.approx(0.1)

    def test_a_recorded_resistance_counts_for_the_whole_record_where_there_is_one(self, make_cycle):
        cycles = [make_cycle(), replace(make_cycle(), recorded_resistance_ohm=0.05), make_cycle()]
        cycles[2] = replace(cycles[2], recorded_resistance_ohm=-1.0)
        found = cycle_scalars(recording(*cycles), 2.0).internal_resistance_ohm
        assert found.tolist() == pytest.approx([np.nan, 0.05, np.nan], nan_ok=True)

    def test_c_rate_of_a_pulsed_load_is_that_of_its_pulses(self):
        pulses = np.tile([-4.0, -4.0, 0.0, 0.0], 90)
        assert scalars(samples(10.0 * np.arange(360), pulses), 2.0)["c_rate"] == pytest.approx(2.0)

    def test_charge_that_a_longer_record_put_in_is_no_efficiency(self, make_cycle):
        cycle = make_cycle()
        rows = cycle.time_s > 6000.0  # the file has but the last third of an hour of the charge
        part = replace(cycle, **{name: getattr(cycle, name)[rows] for name in SAMPLE_COLUMNS})
        assert scalars(part)["charge_capacity_ah"] == pytest.approx(1 / 3, rel=0.06)
        assert np.isnan(scalars(part)["coulombic_efficiency"])

    @pytest.mark.parametrize(("recorded_ah", "believed_ah"), [(1.9, 1.9), (0.9, 2.0), (2.5, 2.0), (np.nan, 2.0)])
    def test_a_recorded_charge_counts_where_it_agrees_with_the_integrated_one(
        self, make_cycle, recorded_ah, believed_ah
    ):
        found = scalars(replace(make_cycle(), recorded_charge_ah=recorded_ah))
        assert found["charge_capacity_ah"] == pytest.approx(believed_ah)

    def test_every_scalar_has_a_unit_and_one_value_a_cycle(self, make_cycle):
        found = cycle_scalars(recording(make_cycle(), make_cycle()))
        assert list(found.columns()) == list(SCALARS)
        assert {len(values) for values in found.columns().values()} == {2}
        assert found.complete.dtype == bool

    @pytest.mark.parametrize("absurd", [1e300, -1e300, 1e-300])
    @pytest.mark.parametrize("column", SAMPLE_COLUMNS)
    def test_absurd_numbers_give_no_infinite_scalars(self, make_cycle, column, absurd):
        values = getattr(make_cycle(), column).copy()
        values[[20, 60, 125, 130]] = absurd
        found = scalars(replace(make_cycle(), **{column: values}))
        assert not np.isinf(list(found.values())).any()

    @pytest.mark.parametrize("column", SAMPLE_COLUMNS)
    def test_what_is_unknown_or_absurd_in_one_cycle_touches_no_other(self, make_cycle, column):
        cycle = watched_closely(make_cycle())
        alone = scalars(cycle)
        for other in (without(cycle, column), replace(cycle, **{column: 1e290 * getattr(cycle, column)})):
            found = cycle_scalars(recording(other, cycle, other), 2.0)
            assert {name: values[1] for name, values in found.columns().items()} == pytest.approx(alone, nan_ok=True)

    def test_cycles_without_samples_have_no_scalars_and_disturb_no_others(self, make_cycle):
        nothing = samples(np.empty(0), np.empty(0))
        found = cycle_scalars(recording(nothing, make_cycle(), nothing), 2.0)
        assert found.capacity_ah.tolist() == pytest.approx([np.nan, 2.0, np.nan], nan_ok=True)
        assert found.complete.tolist() == [False, True, False]


class TestCapacity:
    def test_a_recorded_capacity_near_the_integrated_one_is_preferred(self, make_cycle):
        assert capacity(make_cycle(recorded_capacity_ah=1.9)) == 1.9

    @pytest.mark.parametrize("wrong", [2.6, 0.7, 2000.0, np.nan, np.inf])
    def test_a_recorded_capacity_far_from_the_integrated_one_is_not_believed(self, make_cycle, wrong):
        assert capacity(make_cycle(recorded_capacity_ah=wrong)) == pytest.approx(2.0)

    @pytest.mark.parametrize("nothing", [0.0, -1.0])
    def test_a_recorded_zero_is_an_unknown_capacity(self, make_cycle, nothing):
        found = scalars(make_cycle(recorded_capacity_ah=nothing))
        assert np.isnan(found["capacity_ah"])
        assert not found["complete"]
        assert found["energy_wh"] == pytest.approx(6.8)

    def test_a_tiny_discharge_says_nothing_of_health(self, make_cycle):
        tiny = make_cycle(load_s=600.0)
        assert capacity(tiny) == pytest.approx(1 / 6, rel=0.1)
        assert np.isnan(capacity(tiny, 2.0))
        assert np.isnan(capacity(replace(tiny, recorded_capacity_ah=0.17), 2.0))

    def test_more_than_a_cell_holds_is_unknown(self, make_cycle):
        assert np.isnan(capacity(make_cycle(), 1.0))

    def test_without_time_the_recorded_capacity_is_all_there_is(self, make_cycle):
        assert capacity(without(make_cycle(recorded_capacity_ah=1.9), "time_s")) == 1.9
        assert np.isnan(capacity(without(make_cycle(), "time_s")))

    def test_without_a_nominal_capacity_the_best_early_one_judges_the_rest(self, make_cycle):
        cycles = (make_cycle(), make_cycle(load_s=6000.0), make_cycle(load_s=600.0))
        found = cycle_scalars(recording(*cycles))
        assert found.nominal_capacity_ah == pytest.approx(2.0)
        assert found.capacity_ah[:2] == pytest.approx([2.0, 6000 / 3600], rel=0.01)
        assert np.isnan(found.capacity_ah[2])

    def test_the_early_capacity_is_the_best_of_the_first_ten_known_ones_but_no_spike(self):
        assert early_capacity_ah(np.array([np.nan, 1.0, 1.2, *[1.1] * 8, 5.0])) == 1.2
        assert early_capacity_ah(np.array([1.0, 1.1, 2.6, 1.1])) == 1.1
        assert early_capacity_ah(np.array([np.nan])) is None


class TestCompleteness:
    """A load of 1 A falls by 0.6 V an hour from 4.0 V: it ends at 2.8 V after two hours."""

    def test_a_discharge_that_ends_well_above_the_usual_cut_off_is_not_complete(self, make_cycle):
        cycles = [make_cycle()] * 6 + [make_cycle(load_s=5400.0), make_cycle()]  # 3.1 V
        found = cycle_scalars(recording(*cycles), 2.0)
        assert found.complete.tolist() == [True] * 6 + [False, True]
        assert np.isnan(found.capacity_ah[6])
        assert np.isnan(found.coulombic_efficiency[6])
        assert found.energy_wh[6] == pytest.approx(1.5 * 3.55, rel=1e-3)

    def test_a_first_cycle_that_is_broken_off_is_seen_by_those_right_after_it(self, make_cycle):
        found = cycle_scalars(recording(make_cycle(load_s=3600.0), *[make_cycle()] * 4), 2.0)
        assert found.complete.tolist() == [False, True, True, True, True]

    def test_a_cut_off_voltage_that_the_layout_knows_decides_alone(self, make_cycle):
        broken_off = make_cycle(load_s=5400.0)
        assert scalars(broken_off)["complete"]
        assert not scalars(broken_off, discharge_cut_off_v=2.8)["complete"]
        assert scalars(make_cycle(), discharge_cut_off_v=2.8)["complete"]

    def test_a_cell_that_is_never_discharged_to_the_layouts_cut_off_voltage_has_another_one(self, make_cycle):
        cycles = [make_cycle()] * 5 + [make_cycle(load_s=5400.0)]  # 2.8 V, then 3.1 V
        shallow = cycle_scalars(recording(*cycles, discharge_cut_off_v=2.0), 2.0)
        assert shallow.complete.tolist() == [True] * 5 + [False]
        few = cycle_scalars(recording(*cycles[:4], discharge_cut_off_v=2.0), 2.0)
        assert not few.complete.any()

    def test_a_cell_that_has_lost_its_capacity_is_complete_where_it_ends_at_the_cut_off(self, make_cycle):
        dead = make_cycle(load_s=3600.0)
        dead = replace(dead, voltage_v=np.where(dead.current_a < -0.5, dead.voltage_v - 0.6, dead.voltage_v))
        found = cycle_scalars(recording(*[make_cycle()] * 6, dead), 2.0)
        assert found.complete.all()
        assert found.capacity_ah[6] == pytest.approx(1.0)

    def test_a_discharge_that_does_not_begin_full_is_not_complete(self, make_cycle):
        half = make_cycle(load_s=3600.0)
        half = replace(half, voltage_v=np.where(half.time_s > 7200.0, half.voltage_v - 0.6, half.voltage_v))
        assert cycle_scalars(recording(*[make_cycle()] * 6, half), 2.0).complete.tolist() == [True] * 6 + [False]

    def test_what_many_cycles_do_is_usual_from_then_on(self, make_cycle):
        cycles = [make_cycle()] * 6 + [make_cycle(load_s=5400.0)] * 8
        assert cycle_scalars(recording(*cycles), 2.0).complete.tolist() == [True] * 6 + [False] * 5 + [True] * 3

    def test_later_cycles_change_nothing(self):
        cell = synthetic_cell(cycles=60, seed=3)
        cut = [replace(cycle, current_a=np.where(np.arange(len(cycle)) > 110, 0.0, cycle.current_a))
               for cycle in cell.cycles[20:]]  # fmt: skip
        whole = cycle_scalars(cell).capacity_ah[:20]
        changed = cycle_scalars(replace(cell, cycles=(*cell.cycles[:20], *cut))).capacity_ah[:20]
        assert whole.tolist() == changed.tolist()

    def test_a_spike_beyond_what_a_fresh_cell_holds_is_a_wrong_record(self, make_cycle):
        spike = make_cycle(load_s=9000.0)  # 2.5 Ah
        cycles = [make_cycle(load_s=5400.0)] * 3 + [spike] + [make_cycle(load_s=5400.0)] * 2
        found = cycle_scalars(recording(*cycles), 2.0)
        assert found.capacity_ah.tolist() == pytest.approx([1.5] * 3 + [np.nan] + [1.5] * 2, nan_ok=True)


class TestRealCells:
    def test_a_nasa_cell_has_the_capacities_that_nasa_recorded(self, nasa):
        recorded = read(nasa("B0005"))
        found = cycle_scalars(recorded)
        assert found.capacity_ah.tolist() == [cycle.recorded_capacity_ah for cycle in recorded.cycles]
        assert found.complete.all()
        unrecorded = [replace(cycle, recorded_capacity_ah=None) for cycle in recorded.cycles]
        integrated = discharge_capacities_ah(replace(recorded, cycles=tuple(unrecorded)))
        assert found.capacity_ah == pytest.approx(integrated, rel=0.005)
        assert np.nanmedian(found.coulombic_efficiency) == pytest.approx(0.99, abs=0.01)
        assert found.c_rate == pytest.approx(np.full(168, 1.0), abs=0.02)  # 2 A of a cell of 2 Ah

    @pytest.mark.parametrize(
        ("cell", "incomplete"),
        [("B0049", [1, 5, 17]), ("B0045", [20, 66]), ("B0027", [])],
    )
    def test_nasa_discharges_that_were_broken_off_are_unknown(self, nasa, cell, incomplete):
        # B0049: 1 is of an uncharged cell, 5 a spike of 2.4 Ah after a charge of 38 Ah, 17 ends at 3.45 V
        found = cycle_scalars(read(nasa(cell)))
        assert (np.flatnonzero(~found.complete) + 1).tolist() == incomplete
        assert np.isnan(found.capacity_ah[~found.complete]).all()
