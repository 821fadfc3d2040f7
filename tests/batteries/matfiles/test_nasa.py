import numpy as np
import pytest

from batteries.cycles import discharge_capacities_ah
from batteries.matfiles.errors import NoCycles, SeveralCells
from batteries.matfiles.reader import read


def operation(kind, minute, current, n=4, **more):
    data = {
        "Voltage_measured": np.linspace(3.0, 4.0, n),
        "Current_measured": np.full(n, float(current)),
        "Temperature_measured": np.full(n, 24.0),
        "Current_load": np.full(n, 99.0),
        "Time": 100.0 * np.arange(n),
    }
    return {
        "type": kind,
        "ambient_temperature": np.uint8(24),
        "time": np.array([2008.0, 4, 2, 13, minute, 0.5]),
        "data": data | more,
    }


IMPEDANCE = operation("impedance", 0, 0.0) | {"data": {"Battery_impedance": np.array([1 + 2j, 3 - 1j]), "Re": 0.05}}


def cell(*operations):
    return {"B9999": {"cycle": list(operations)}}


class TestCycles:
    def test_a_cycle_is_a_discharge_with_the_charge_before_it_on_one_clock(self, write_mat, tmp_path):
        variables = cell(
            operation("charge", 0, 1.5),
            IMPEDANCE,
            operation("discharge", 10, -2.0, Capacity=1.85),
            operation("discharge", 30, -2.0, Capacity=1.80),
        )
        recording = read(write_mat(tmp_path / "any name.mat", variables))
        first, second = recording.cycles
        # the discharge began ten minutes after the charge
        assert first.time_s.tolist() == [0, 100, 200, 300, 600, 700, 800, 900]
        assert first.current_a.tolist() == [1.5] * 4 + [-2.0] * 4
        assert first.recorded_capacity_ah == 1.85
        assert (first.index, second.index) == (1, 2)
        assert len(second) == 4
        assert (recording.layout, recording.cell, recording.nominal_capacity_ah) == ("nasa", "B9999", 2.0)
        assert any(
            line.startswith("cycles without a charge") and line.endswith(": no. 2") for line in recording.report.notes
        )

    def test_the_resistance_is_that_of_the_impedance_measured_since_the_last_discharge(self, write_mat, tmp_path):
        measured = IMPEDANCE | {"data": {"Re": 0.05, "Rct": 0.07}}
        broken = IMPEDANCE | {"data": {"Re": 0.05, "Rct": -1e9}}
        variables = cell(
            measured, operation("discharge", 0, -2.0), operation("discharge", 20, -2.0), measured, broken,
            operation("discharge", 40, -2.0),
        )  # fmt: skip
        cycles = read(write_mat(tmp_path / "x.mat", variables)).cycles
        assert [cycle.recorded_resistance_ohm for cycle in cycles] == [pytest.approx(0.12), None, None]

    def test_of_several_charges_the_last_is_kept_and_the_report_says_so(self, write_mat, tmp_path):
        variables = cell(
            operation("charge", 0, 1.0), operation("charge", 20, 1.5), operation("discharge", 40, -2.0, Capacity=1.0),
            operation("charge", 50, 1.5),
        )  # fmt: skip
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].current_a.tolist() == [1.5] * 4 + [-2.0] * 4
        assert any("several charges" in line for line in recording.report.notes)
        assert any("1 charge(s) after the last discharge" in line for line in recording.report.notes)

    def test_dates_that_overlap_put_the_discharge_right_after_the_charge(self, write_mat, tmp_path):
        variables = cell(operation("charge", 5, 1.5), operation("discharge", 5, -2.0, Capacity=1.0))
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s.tolist() == [0, 100, 200, 300, 300, 400, 500, 600]
        assert any("dates overlap" in line for line in recording.report.notes)

    def test_dates_of_integers_are_dates_too(self, write_mat, tmp_path):
        variables = cell(operation("charge", 0, 1.5), operation("discharge", 10, -2.0))
        for one in variables["B9999"]["cycle"]:
            one["time"] = np.floor(one["time"]).astype(np.uint16)
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s.tolist() == [0, 100, 200, 300, 600, 700, 800, 900]

    def test_records_of_three_samples_and_of_one_are_cycles(self, write_mat, tmp_path):
        variables = cell(operation("discharge", 0, -2.0, n=3), operation("discharge", 10, -2.0, n=1))
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert [len(cycle) for cycle in recording.cycles] == [3, 1]

    def test_a_charge_to_8_volts_is_kept_as_it_was_measured(self, write_mat, tmp_path):
        spike = np.array([3.0, 8.39, 4.0, 4.1])
        variables = cell(operation("charge", 0, 1.5, Voltage_measured=spike), operation("discharge", 10, -2.0))
        assert read(write_mat(tmp_path / "x.mat", variables)).cycles[0].voltage_v.max() == 8.39

    def test_a_sign_that_the_types_contradict_is_turned(self, write_mat, tmp_path):
        variables = cell(operation("charge", 0, -1.5), operation("discharge", 10, 2.0))
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].current_a.tolist() == [1.5] * 4 + [-2.0] * 4
        assert recording.report.current_sign == "positive on discharge"

    def test_a_single_discharge_with_the_other_sign_is_turned_where_its_voltage_falls(self, write_mat, tmp_path):
        flipped, odd = operation("discharge", 210, 2.0), operation("discharge", 330, 2.0)
        flipped["data"]["Voltage_measured"] = np.linspace(4.0, 3.0, 4)
        odd["data"]["Voltage_measured"] = np.linspace(3.0, 4.0, 4)  # a charge, whatever its type says
        others = [operation(kind, 60 * at, 1.5 if kind == "charge" else -2.0)
                  for at, kind in enumerate(("charge", "discharge", "charge"))]  # fmt: skip
        recording = read(write_mat(tmp_path / "x.mat", cell(*others, flipped, odd)))
        assert [float(cycle.current_a[-1]) for cycle in recording.cycles] == [-2.0, -2.0, 2.0]
        assert "1 record(s) whose current has the other sign than the others: turned" in recording.report.repaired

    def test_sizes_alone_get_the_direction_of_their_types(self, write_mat, tmp_path):
        variables = cell(operation("charge", 0, 1.5), operation("discharge", 10, 2.0))
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].current_a.tolist() == [1.5] * 4 + [-2.0] * 4
        assert recording.report.current_sign == "unsigned"

    def test_empty_and_zero_capacities_are_unknown_and_nan_samples_stay(self, write_mat, tmp_path):
        gap = np.array([4.0, np.nan, 3.8, 3.7])
        variables = cell(
            operation("discharge", 0, -2.0, Capacity=np.empty((0, 0)), Voltage_measured=gap),
            operation("discharge", 20, -2.0, Capacity=0.0),
        )
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].recorded_capacity_ah is None
        assert np.array_equal(recording.cycles[0].voltage_v, gap, equal_nan=True)
        assert np.isnan(discharge_capacities_ah(recording, 2.0)).all()
        assert any("kept as NaN: no. 1" in line for line in recording.report.notes)

    def test_a_clock_of_another_length_is_unknown_and_the_cycle_stays(self, write_mat, tmp_path):
        variables = cell(
            operation("discharge", 0, -2.0, Time=np.arange(3.0), Capacity=1.8), operation("discharge", 20, -2.0)
        )
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert len(recording) == 2
        assert np.isnan(recording.cycles[0].time_s).all()
        assert recording.cycles[0].recorded_capacity_ah == 1.8
        assert any("another length, and is unknown: no. 1" in line for line in recording.report.missing)

    def test_an_operation_without_voltages_for_its_currents_is_left_out(self, write_mat, tmp_path):
        variables = cell(
            operation("discharge", 0, -2.0, Voltage_measured=np.arange(3.0)), operation("discharge", 20, -2.0)
        )
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert len(recording) == 1
        assert any("without columns of one length: no. 1" in line for line in recording.report.left_out)

    def test_operations_with_other_names_inside_are_read_as_a_generic_file(self, write_mat, tmp_path):
        names = {"Voltage_measured": "V", "Current_measured": "I", "Time": "t_s"}
        halves = [operation("charge", 0, 1.5), operation("discharge", 20, -2.0)] * 2
        renamed = [half | {"data": {names.get(k, k): v for k, v in half["data"].items()}} for half in halves]
        recording = read(write_mat(tmp_path / "x.mat", cell(*renamed)))
        assert (recording.layout, len(recording)) == ("generic", 2)

    def test_operations_without_a_discharge_are_no_cycles(self, write_mat, tmp_path):
        path = write_mat(tmp_path / "x.mat", cell(operation("charge", 0, 1.5), IMPEDANCE))
        with pytest.raises(NoCycles, match="no discharge"):
            read(path)

    def test_several_cells_are_listed_and_one_can_be_chosen(self, write_mat, tmp_path):
        one, other = operation("discharge", 0, -1.0), operation("discharge", 0, -2.0)
        variables = {"B1": {"cycle": [one, one]}, "B2": {"cycle": [other, other]}}
        path = write_mat(tmp_path / "x.mat", variables)
        with pytest.raises(SeveralCells, match="0: B1, 1: B2") as caught:
            read(path)
        assert caught.value.cells == ("B1", "B2")
        assert read(path, cell=1).cycles[0].current_a[0] == -2.0
        with pytest.raises(SeveralCells, match="no cell 2"):
            read(path, cell=2)


class TestRealCells:
    def test_b0005_has_168_cycles_with_a_recorded_capacity_each(self, nasa):
        recording = read(nasa("B0005"))
        assert [cycle.index for cycle in recording.cycles] == list(range(1, 169))
        capacities = [cycle.recorded_capacity_ah for cycle in recording.cycles]
        assert capacities[0] == pytest.approx(1.856487, abs=1e-6)  # NASA's own number for the first discharge
        assert min(capacities) == pytest.approx(1.287453, abs=1e-6)
        assert all((np.diff(cycle.time_s) > 0).all() for cycle in recording.cycles)

    def test_v73_gives_exactly_what_level_5_gives(self, nasa):
        assert read(nasa("B0006")) == read(nasa("B0006_v73"))

    @pytest.mark.parametrize(
        ("cell", "cycles"),
        [("B0007", 168), ("B0025", 28), ("B0026", 28), ("B0027", 28), ("B0029", 40), ("B0030", 40), ("B0031", 40),
         ("B0038", 47), ("B0039", 47), ("B0045", 72), ("B0046", 72), ("B0049", 25), ("B0050", 25)],
    )  # fmt: skip
    def test_every_cell_reads_with_all_its_discharges(self, nasa, cell, cycles):
        recording = read(nasa(cell))
        assert len(recording) == cycles
        assert recording.cell == cell
