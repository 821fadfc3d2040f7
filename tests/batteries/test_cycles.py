from dataclasses import replace

import numpy as np
import pytest

from batteries.cycles import (
    discharge_capacities_ah,
    discharge_capacity_ah,
    early_capacity_ah,
    integrated_discharge_ah,
)
from batteries.matfiles.reader import read
from batteries.recordings import Recording


def without(cycle, column):
    return replace(cycle, **{column: np.full(len(cycle), np.nan)})


class TestIntegration:
    def test_one_ampere_for_two_hours_is_two_ampere_hours_and_rest_adds_nothing(self, make_cycle):
        assert integrated_discharge_ah(make_cycle()) == pytest.approx(2.0, abs=1e-9)

    @pytest.mark.parametrize("gap_s", [1.0, 600.0, 1e6])
    def test_time_without_samples_before_and_after_the_load_is_not_capacity(self, make_cycle, gap_s):
        whole = make_cycle()
        charge, load = whole.time_s <= 7200.0, (whole.current_a < -0.5)
        rows = charge | load
        time_s = np.append(whole.time_s[charge], 7200.0 + gap_s + whole.time_s[load] - whole.time_s[load][0])
        columns = {name: getattr(whole, name)[rows] for name in ("voltage_v", "current_a", "temperature_c")}
        assert integrated_discharge_ah(replace(whole, time_s=time_s, **columns)) == pytest.approx(2.0, abs=1e-9)

    def test_a_pulsed_load_counts_with_its_edges(self, make_cycle):
        # 4 A for ten seconds, nothing for ten seconds, sampled every ten: 2 A on average
        pulses = np.tile([-4.0, 0.0], 181)[:361]
        time_s = 10.0 * np.arange(361)
        known = {"voltage_v": np.full(361, 3.7), "temperature_c": np.full(361, 25.0)}
        cycle = replace(make_cycle(), time_s=time_s, current_a=pulses, **known)
        assert integrated_discharge_ah(cycle) == pytest.approx(2.0)

    def test_an_offset_of_the_instrument_during_a_long_rest_is_not_capacity(self, make_cycle):
        cycle = make_cycle()
        resting = np.append(cycle.time_s, cycle.time_s[-1] + 1e6)
        longer = replace(
            cycle,
            time_s=resting,
            voltage_v=np.append(cycle.voltage_v, 3.5),
            current_a=np.append(cycle.current_a, -0.001),
            temperature_c=np.append(cycle.temperature_c, 25.0),
        )
        assert integrated_discharge_ah(longer) == integrated_discharge_ah(cycle)

    def test_samples_without_a_current_are_bridged(self, make_cycle):
        cycle = make_cycle()
        current = cycle.current_a.copy()
        current[150:153] = np.nan
        assert integrated_discharge_ah(replace(cycle, current_a=current)) == pytest.approx(2.0)

    @pytest.mark.parametrize("column", ["time_s", "current_a"])
    def test_is_unknown_without_time_or_current(self, make_cycle, column):
        assert integrated_discharge_ah(without(make_cycle(), column)) is None

    def test_is_unknown_without_a_load(self, make_cycle):
        cycle = make_cycle()
        assert integrated_discharge_ah(replace(cycle, current_a=np.abs(cycle.current_a))) is None


class TestCapacity:
    def test_a_recorded_capacity_near_the_integrated_one_is_preferred(self, make_cycle):
        assert discharge_capacity_ah(make_cycle(recorded_capacity_ah=1.9)) == 1.9

    @pytest.mark.parametrize("wrong", [2.6, 0.7, 2000.0, np.nan, np.inf])
    def test_a_recorded_capacity_far_from_the_integrated_one_is_not_believed(self, make_cycle, wrong):
        cycle = make_cycle(recorded_capacity_ah=wrong)
        assert discharge_capacity_ah(cycle) == integrated_discharge_ah(cycle)

    @pytest.mark.parametrize("nothing", [0.0, -1.0])
    def test_a_recorded_zero_is_an_unknown_capacity(self, make_cycle, nothing):
        assert discharge_capacity_ah(make_cycle(recorded_capacity_ah=nothing)) is None

    def test_a_tiny_discharge_says_nothing_of_health(self, make_cycle):
        tiny = make_cycle(load_s=600.0)
        assert discharge_capacity_ah(tiny) == pytest.approx(1 / 6, rel=0.1)
        assert discharge_capacity_ah(tiny, nominal_capacity_ah=2.0) is None
        assert discharge_capacity_ah(replace(tiny, recorded_capacity_ah=0.17), nominal_capacity_ah=2.0) is None

    def test_more_than_a_cell_holds_is_unknown(self, make_cycle):
        assert discharge_capacity_ah(make_cycle(), nominal_capacity_ah=1.0) is None

    def test_without_time_the_recorded_capacity_is_all_there_is(self, make_cycle):
        assert discharge_capacity_ah(without(make_cycle(recorded_capacity_ah=1.9), "time_s")) == 1.9
        assert discharge_capacity_ah(without(make_cycle(), "time_s")) is None

    def test_an_empty_cycle_is_unknown(self, make_cycle):
        nothing = np.empty(0)
        empty = replace(make_cycle(), time_s=nothing, voltage_v=nothing, current_a=nothing, temperature_c=nothing)
        assert discharge_capacity_ah(empty, 2.0) is None


class TestCapacitiesOfARecording:
    def test_without_a_nominal_capacity_the_best_early_one_judges_the_rest(self, make_cycle):
        cycles = (make_cycle(), make_cycle(load_s=6000.0), make_cycle(load_s=600.0))
        capacities = discharge_capacities_ah(Recording(cycles=cycles, layout="generic"))
        assert capacities[:2] == pytest.approx([2.0, 6000 / 3600], rel=0.01)
        assert np.isnan(capacities[2])

    def test_the_early_capacity_is_the_best_of_the_first_ten_known_ones(self):
        assert early_capacity_ah(np.array([np.nan, 1.0, 1.2, *[1.1] * 8, 5.0])) == 1.2
        assert early_capacity_ah(np.array([np.nan])) is None

    def test_a_nasa_cell_has_the_capacities_that_nasa_recorded(self, nasa):
        recording = read(nasa("B0005"))
        capacities = discharge_capacities_ah(recording)
        assert capacities.tolist() == [cycle.recorded_capacity_ah for cycle in recording.cycles]
        integrated = [integrated_discharge_ah(cycle) for cycle in recording.cycles]
        assert capacities == pytest.approx(integrated, rel=0.005)

    @pytest.mark.parametrize(("cell", "unknown"), [("B0049", [17]), ("B0045", [20, 66])])
    def test_nasa_discharges_that_were_broken_off_are_unknown(self, nasa, cell, unknown):
        capacities = discharge_capacities_ah(read(nasa(cell)))
        assert (np.flatnonzero(np.isnan(capacities)) + 1).tolist() == unknown
