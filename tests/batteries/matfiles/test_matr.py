import h5py
import numpy as np
import pytest

from batteries.matfiles.errors import SeveralCells
from batteries.matfiles.reader import read
from batteries.matfiles.special import Budget

BARCODES = ("EL150800460514", "EL150800460486", "EL150800460623")


def batch(formats, **changed):
    return {
        "batch": [
            {
                "barcode": barcode, "policy_readable": f"{rate}C(80%)-3.6C", "channel_id": float(at),
                "cycle_life": 1000.0, "policy": "a", **formats.matr((1.05 + 0.01 * at, 1.07, 1.06)), **changed,
            }
            for at, (barcode, rate) in enumerate(zip(BARCODES, (3.6, 4.0, 4.8), strict=True))
        ]
    }  # fmt: skip


def in_cells(element):
    """A struct of cell arrays for what was a struct array: what Python writes for `cycles`."""
    columns = {name: tuple(cycle[name] for cycle in element["cycles"]) for name in element["cycles"][0]}
    return element | {"cycles": columns}


FORMS = {
    "cycles and summary at the top": lambda cell: cell,
    "in a struct of any name": lambda cell: {"b1c0": cell},
    "a struct of cell arrays": in_cells,
    "a batch of one": lambda cell: {"batch": [cell]},
}


class TestOneCell:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_gives_the_cycles_in_seconds_with_their_recorded_facts(self, write_mat, tmp_path, formats, form):
        recording = read(write_mat(tmp_path / "x.mat", FORMS[form](formats.matr())))
        assert (recording.layout, recording.nominal_capacity_ah, recording.chemistry) == ("matr", 1.1, "LFP")
        assert recording.discharge_cut_off_v == 2.0
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == [1.05, 1.07, 1.06]
        assert [cycle.recorded_charge_ah for cycle in recording.cycles] == pytest.approx([1.051, 1.071, 1.061])
        assert [cycle.recorded_resistance_ohm for cycle in recording.cycles] == [0.0167] * 3
        first = recording.cycles[0]
        # 1.05 Ah at 3.96 A, ten minutes of rest, 1.05 Ah at 4.4 A: 954.5 + 600 + 859.1 s
        assert first.time_s[-1] == pytest.approx(3600 * 1.05 / 3.96 + 600 + 3600 * 1.05 / 4.4)
        assert (first.current_a.max(), first.current_a.min()) == (3.96, -4.4)
        assert (first.voltage_v[0], first.voltage_v[-1]) == (3.0, 2.0)
        assert first.temperature_c[-1] == 38.0

    def test_the_report_says_where_columns_come_from_and_in_which_units(self, write_mat, tmp_path, formats):
        report = read(write_mat(tmp_path / "x.mat", formats.matr())).report.as_dict()
        assert report["columns"]["time_s"] == {"from": "t", "unit": "min"}
        assert report["columns"]["discharged_ah"] == {"from": "summary.QDischarge", "unit": "Ah"}
        assert report["current_sign"] == "positive on charge"
        assert report["notes"][0].startswith("matr layout: ")
        assert "time_s from 't' in min" in report["notes"][0]
        assert report["notes"][0].endswith("; current positive on charge")
        assert report["repaired"] == []
        assert any("nominal capacity 1.1 Ah" in line for line in report["assumed"])

    def test_a_placeholder_for_the_first_cycle_stays_a_cycle_without_a_capacity(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", formats.matr(placeholder=True)))
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]
        assert (len(recording.cycles[0]), recording.cycles[0].recorded_capacity_ah) == (0, 0.0)
        assert recording.cycles[1].recorded_capacity_ah == 1.07
        assert any(line == "cycles without a recorded capacity: no. 1" for line in recording.report.missing)

    def test_empty_arrays_for_the_first_cycle_are_a_cycle_without_samples(self, write_mat, tmp_path, formats):
        cell = formats.matr()
        cell["cycles"][0] = dict.fromkeys(cell["cycles"][0], np.empty((0, 0)))
        recording = read(write_mat(tmp_path / "x.mat", cell))
        assert [len(cycle) for cycle in recording.cycles] == [0, 202, 202]
        assert "cycles without samples: no. 1" in recording.report.missing

    def test_without_a_summary_the_counters_of_charge_are_the_capacities(self, write_mat, tmp_path, formats):
        cell = formats.matr()
        del cell["summary"]
        recording = read(write_mat(tmp_path / "x.mat", cell))
        assert recording.layout == "matr"
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx([1.05, 1.07, 1.06])

    def test_numbers_of_the_summary_are_kept(self, write_mat, tmp_path, formats):
        cell = formats.matr()
        cell["summary"]["cycle"] = np.array([[11.0], [12.0], [20.0]])
        recording = read(write_mat(tmp_path / "x.mat", cell))
        assert [cycle.index for cycle in recording.cycles] == [11, 12, 20]

    def test_a_summary_that_ends_before_the_cycles_leaves_the_last_ones_their_counters(
        self, write_mat, tmp_path, formats
    ):
        cell = formats.matr()
        cell["summary"] = {name: values[:2] for name, values in cell["summary"].items()}
        cell["summary"]["cycle"] = np.array([[11.0], [12.0]])
        recording = read(write_mat(tmp_path / "x.mat", cell))
        assert [cycle.index for cycle in recording.cycles] == [11, 12, 13]
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx([1.05, 1.07, 1.06])
        said = recording.report.assumed
        assert "beside 3 records stand 2 numbers: the first one is the first record's" in said
        assert "1 cycle(s) without a number of their own are counted on from the one before" in said

    def test_a_summary_that_is_as_long_as_the_cycles_is_nothing_to_say(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", formats.matr()))
        assert recording.report.assumed == ("nominal capacity 1.1 Ah, as the layout's cells have",)


class TestPhysics:
    """The layout says minutes, amperes and + on charge; a file that says otherwise by its numbers is repaired."""

    def changed(self, formats, **change):
        cell = formats.matr()
        cell["cycles"] = [
            {name: change.get(name, lambda values: values)(values) for name, values in cycle.items()}
            for cycle in cell["cycles"]
        ]
        return cell

    def check(self, recording, formats):
        expected = formats.cycle(1.05, 3.96, 4.4)
        assert recording.cycles[0].time_s == pytest.approx(expected.time_s)
        assert recording.cycles[0].current_a == pytest.approx(expected.current_a)
        assert recording.cycles[0].voltage_v == pytest.approx(expected.voltage_v)

    def test_a_clock_in_seconds_is_told_by_the_recorded_capacity(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", self.changed(formats, t=lambda t: 60.0 * t)))
        self.check(recording, formats)
        assert recording.report.columns["time_s"].unit == "s"
        assert any("time taken as s" in line for line in recording.report.repaired)

    def test_a_current_in_c_rates_is_told_by_the_recorded_capacity(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", self.changed(formats, I=lambda i: i / 1.1)))
        self.check(recording, formats)
        assert recording.report.columns["current_a"].unit == "C"

    def test_a_turned_sign_is_told_by_the_voltage(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", self.changed(formats, I=np.negative)))
        self.check(recording, formats)
        assert recording.report.current_sign == "positive on discharge"

    def test_millivolts_are_told_by_their_size(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", self.changed(formats, V=lambda v: 1000.0 * v)))
        self.check(recording, formats)
        assert recording.report.columns["voltage_v"].unit == "mV"


class TestBatch:
    def test_without_a_choice_the_cells_are_listed_by_barcode_and_policy(self, write_mat, tmp_path, formats):
        path = write_mat(tmp_path / "x.mat", batch(formats))
        with pytest.raises(SeveralCells, match="holds 3 cells; choose one with the field 'cell'") as caught:
            read(path)
        assert caught.value.cells[0] == "EL150800460514, 3.6C(80%)-3.6C"
        assert len(set(caught.value.cells)) == 3

    @pytest.mark.parametrize("cell", [0, 1, 2])
    def test_the_chosen_cell_is_read(self, write_mat, tmp_path, formats, cell):
        recording = read(write_mat(tmp_path / "x.mat", batch(formats)), cell)
        assert recording.cycles[0].recorded_capacity_ah == pytest.approx(1.05 + 0.01 * cell)
        assert BARCODES[cell] in recording.cell
        assert recording.report.cells_in_file == 3

    def test_a_cell_that_is_not_there_is_said_with_those_that_are(self, write_mat, tmp_path, formats):
        with pytest.raises(SeveralCells, match=r"no cell 3 .*0: EL150800460514"):
            read(write_mat(tmp_path / "x.mat", batch(formats)), 3)

    def test_names_that_do_not_tell_cells_apart_come_with_their_places(self, write_mat, tmp_path, formats):
        path = write_mat(tmp_path / "x.mat", batch(formats, barcode="same", policy_readable="1C"))
        with pytest.raises(SeveralCells) as caught:
            read(path)
        assert caught.value.cells == ("batch(1): same, 1C", "batch(2): same, 1C", "batch(3): same, 1C")

    def test_names_stored_as_codes_of_letters_are_read(self, write_mat, tmp_path, formats):
        codes = np.array([ord(letter) for letter in "EL1508"], dtype=np.uint16)
        with pytest.raises(SeveralCells) as caught:
            read(write_mat(tmp_path / "x.mat", batch(formats, barcode=codes)))
        assert caught.value.cells[1] == "EL1508, 4.0C(80%)-3.6C"

    def test_level_5_and_v73_give_the_same_recording(self, writers, tmp_path, formats):
        one, other = (read(write(tmp_path / f"{kind}.mat", batch(formats)), 1) for kind, write in writers.items())
        assert one == other

    def test_choosing_a_cell_reads_that_cell_alone(self, writers, tmp_path, formats, monkeypatch):
        path = writers["v7.3"](tmp_path / "x.mat", batch(formats))
        read_bytes = []
        monkeypatch.setattr(Budget, "take", lambda _, size: read_bytes.append(size))
        read(path, 2)
        with h5py.File(path) as file:
            whole = sum(
                node.id.get_storage_size() for node in file["#refs#"].values() if isinstance(node, h5py.Dataset)
            )
        assert 0 < sum(read_bytes) < whole / 3
