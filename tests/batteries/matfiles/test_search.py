"""The forms in which files of no named origin hold their cycles; every one gives the same cycles."""

import h5py
import numpy as np
import pytest

from batteries.matfiles.errors import NoCycles
from batteries.matfiles.reader import read

CAPACITIES = (1.00, 0.98, 0.90)
NUMBERS = (1, 2, 7)


@pytest.fixture
def cycles(formats):
    return [formats.cycle(capacity, 1.0, 2.0) for capacity in CAPACITIES]


def plain(cycle, charge=slice(None)):
    return {
        "V": cycle.voltage_v[charge], "I": cycle.current_a[charge], "time_s": cycle.time_s[charge],
        "T": cycle.temperature_c[charge],
    }  # fmt: skip


CHARGE, DISCHARGE = slice(0, 101), slice(101, None)


def named_structs(cycles):
    return {f"cycle_{number}": plain(cycle) for number, cycle in zip(NUMBERS, cycles, strict=True)}


def named_structs_of_a_cell(cycles):
    return {"cell": {f"cyc{number:04d}": plain(cycle) for number, cycle in zip(NUMBERS, cycles, strict=True)}}


def structs_of_charge_and_discharge(cycles):
    return {
        "cycles": [
            {"cycle": float(number), "discharge": plain(cycle, DISCHARGE), "charge": plain(cycle, CHARGE)}
            for number, cycle in zip(NUMBERS, cycles, strict=True)
        ]
    }


def names_of_charge_and_discharge(cycles):
    def sided(cycle):
        parts = {"charge": plain(cycle, CHARGE), "discharge": plain(cycle, DISCHARGE)}
        return {
            f"{column.removesuffix('_s')}_{side}": values
            for side, part in parts.items()
            for column, values in part.items()
        }

    return {"data": [{**sided(cycle), "cycle_number": number} for number, cycle in zip(NUMBERS, cycles, strict=True)]}


def records_with_a_type(cycles):
    return {
        "steps": [
            {"type": kind, "cycle_index": float(number), **plain(cycle, part)}
            for number, cycle in zip(NUMBERS, cycles, strict=True)
            for kind, part in (("CC Chg", CHARGE), ("CC DChg", DISCHARGE))
        ]
    }


def arbin_table(cycles):
    """One long table whose counters of charge go on from cycle to cycle, as Arbin's do."""
    before = np.cumsum([0.0, *CAPACITIES[:-1]])
    starts = np.cumsum([0.0, *(cycle.time_s[-1] + 60.0 for cycle in cycles[:-1])])
    return {
        "Test_Time_s_": np.concatenate([cycle.time_s + start for cycle, start in zip(cycles, starts, strict=True)]),
        "Step_Index": np.tile(np.repeat([1.0, 2.0], 101), 3),
        "Cycle_Index": np.repeat(np.array(NUMBERS, dtype=float), 202),
        "Current_A_": np.concatenate([cycle.current_a for cycle in cycles]),
        "Voltage_V_": np.concatenate([cycle.voltage_v for cycle in cycles]),
        "Charge_Capacity_Ah_": np.concatenate([c.charged_ah + ah for c, ah in zip(cycles, before, strict=True)]),
        "Discharge_Capacity_Ah_": np.concatenate([c.discharged_ah + ah for c, ah in zip(cycles, before, strict=True)]),
        "Temperature_C_": np.concatenate([cycle.temperature_c for cycle in cycles]),
    }


def matrices(fill, transposed):
    def build(cycles):
        grid = {
            name: np.array([np.append(values, np.full(8, fill)) for values in (plain(cycle)[name] for cycle in cycles)])
            for name in plain(cycles[0])
        }
        return {name: values.T if transposed else values for name, values in grid.items()} | {
            "cycle_index": np.array(NUMBERS, dtype=float)
        }

    return build


def series_of_charges_and_of_discharges(cycles):
    def halves(part):
        return [{**plain(cycle, part), "cycle": float(number)} for number, cycle in zip(NUMBERS, cycles, strict=True)]

    return {"cell": {"discharge_data": halves(DISCHARGE), "charge_data": tuple(halves(CHARGE))}}


FORMS = {
    "a series of charges and one of discharges": series_of_charges_and_of_discharges,
    "structs named by their numbers": named_structs,
    "structs named by their numbers in a struct": named_structs_of_a_cell,
    "a struct for charge and one for discharge": structs_of_charge_and_discharge,
    "names that say charge and discharge": names_of_charge_and_discharge,
    "records that say their type": records_with_a_type,
    "a table of a cycler": arbin_table,
    "matrices with a row a cycle, filled up with NaN": matrices(np.nan, transposed=False),
    "matrices with a column a cycle, filled up with NaN": matrices(np.nan, transposed=True),
    "matrices with a column a cycle, filled up with zeros": matrices(0.0, transposed=True),
}


class TestSearch:
    def test_structs_that_lead_to_one_another_a_billion_times_are_soon_given_up(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            target = file.create_group("#refs#/g0")
            target["text"] = 1.0
            for level in range(1, 5):
                group = file.create_group(f"#refs#/g{level}") if level < 4 else file.create_group("top")
                group.create_dataset("a", data=np.array([target.ref] * 180, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
                target = group
        with pytest.raises(NoCycles):
            read(tmp_path / "x.mat")


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_gives_the_same_cycles_under_their_recorded_numbers(self, write_mat, tmp_path, cycles, form):
        recording = read(write_mat(tmp_path / "x.mat", FORMS[form](cycles)))
        assert recording.layout == "generic"
        assert [cycle.index for cycle in recording.cycles] == list(NUMBERS)
        for found, expected in zip(recording.cycles, cycles, strict=True):
            assert found.voltage_v == pytest.approx(expected.voltage_v)
            assert found.current_a == pytest.approx(expected.current_a)
            assert found.temperature_c == pytest.approx(expected.temperature_c)
            assert np.diff(found.time_s)[101:] == pytest.approx(np.diff(expected.time_s)[101:])
            assert found.time_s[0] == 0.0

    def test_counters_that_go_on_from_cycle_to_cycle_give_each_cycles_capacity(self, write_mat, tmp_path, cycles):
        recording = read(write_mat(tmp_path / "x.mat", arbin_table(cycles)))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx(CAPACITIES)
        assert [cycle.recorded_charge_ah for cycle in recording.cycles] == pytest.approx(CAPACITIES)

    def test_one_record_that_nothing_numbers_is_cut_after_each_discharge(self, write_mat, tmp_path, cycles):
        table = {name: arbin_table(cycles)[name] for name in ("Test_Time_s_", "Current_A_", "Voltage_V_")}
        recording = read(write_mat(tmp_path / "x.mat", table))
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]
        assert [len(cycle) for cycle in recording.cycles] == [202] * 3
        assert any("cut after each of 3 discharges" in line for line in recording.report.assumed)

    def test_a_long_record_of_sizes_that_nothing_numbers_is_cut_too(self, write_mat, tmp_path, formats):
        cycles = [formats.cycle(1.0, 1.0, 2.0)] * 300
        seconds = np.concatenate([cycle.time_s + 9000.0 * at for at, cycle in enumerate(cycles)])
        seconds[202 * 5 + 101 :] += 30 * 86_400.0  # a month between a charge and its discharge: no charge flows in it
        table = {"I": np.abs(np.tile(cycles[0].current_a, 300)), "V": np.tile(cycles[0].voltage_v, 300), "t": seconds}
        recording = read(write_mat(tmp_path / "x.mat", table))
        assert len(recording) == 300
        assert recording.cycles[200].current_a[[10, 190]].tolist() == [1.0, -2.0]

    @pytest.mark.parametrize("inside", [False, True])
    def test_numbers_for_each_cycle_beside_the_cycles_are_theirs(self, write_mat, tmp_path, cycles, inside):
        table = {
            "cycle_number": np.array(NUMBERS, dtype=float),
            "discharge_capacity_mAh": 1000.0 * np.array(CAPACITIES),
        }
        beside = {"summary": table} if inside else table
        recording = read(write_mat(tmp_path / "x.mat", {"data": [plain(cycle) for cycle in cycles], **beside}))
        assert [cycle.index for cycle in recording.cycles] == list(NUMBERS)
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx(CAPACITIES)

    def test_one_cycle_alone_is_a_file_of_one_cycle(self, write_mat, tmp_path, cycles):
        recording = read(write_mat(tmp_path / "x.mat", plain(cycles[0])))
        assert len(recording) == 1
        assert recording.cycles[0].current_a == pytest.approx(cycles[0].current_a)

    def test_discharges_alone_are_cycles_and_the_report_says_so(self, write_mat, tmp_path, cycles):
        discharges = [plain(cycle, DISCHARGE) | {"capacity": cycle.capacity_ah} for cycle in cycles]
        recording = read(write_mat(tmp_path / "x.mat", {"discharges": discharges}))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == list(CAPACITIES)
        assert any("discharges alone" in line for line in recording.report.missing)

    def test_a_current_and_a_voltage_without_time_or_capacity_are_no_discharge(self, write_mat, tmp_path):
        curve = {"V": np.linspace(0.6, 0.0, 50), "I": np.linspace(0.0, 8.0, 50)}
        with pytest.raises(NoCycles):
            read(write_mat(tmp_path / "x.mat", curve))

    def test_a_capacity_that_stands_beside_every_sample_of_a_cycle_is_its_capacity(self, write_mat, tmp_path, cycles):
        table = arbin_table(cycles)
        del table["Discharge_Capacity_Ah_"], table["Charge_Capacity_Ah_"]
        recording = read(write_mat(tmp_path / "x.mat", table | {"Capacity_Ah": np.repeat(CAPACITIES, 202)}))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == list(CAPACITIES)
