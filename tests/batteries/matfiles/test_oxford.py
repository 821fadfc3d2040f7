import numpy as np
import pytest

from batteries.cycles import discharge_capacities_ah
from batteries.matfiles.errors import SeveralCells
from batteries.matfiles.reader import read


class TestRead:
    def test_cycles_keep_the_numbers_of_their_names(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", {"Cell3": formats.oxford()}))
        assert (recording.layout, recording.cell, recording.nominal_capacity_ah) == ("oxford", "Cell3", 0.74)
        assert [cycle.index for cycle in recording.cycles] == [0, 100, 8200]

    def test_a_cycle_is_the_1c_charge_and_discharge_on_one_clock(self, write_mat, tmp_path, formats):
        first = read(write_mat(tmp_path / "x.mat", {"Cell1": formats.oxford()})).cycles[0]
        assert len(first) == 202
        # an hour of charge, ten minutes of rest, an hour of discharge; day numbers resolve 10 µs
        assert first.time_s[[0, 100, 101, 201]] == pytest.approx([0.0, 3600.0, 4200.0, 7800.0], abs=1e-3)
        assert (first.voltage_v[0], first.voltage_v[-1]) == (3.0, 2.7)

    def test_the_current_is_the_rate_of_the_charge(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", {"Cell1": formats.oxford()}))
        # 740 mAh in an hour, both ways
        assert recording.cycles[0].current_a == pytest.approx(np.repeat([0.74, -0.74], 101), rel=1e-4)
        assert discharge_capacities_ah(recording) == pytest.approx([0.74, 0.73, 0.60], rel=1e-3)
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx([0.74, 0.73, 0.60])
        assert [cycle.recorded_charge_ah for cycle in recording.cycles] == pytest.approx([0.74, 0.73, 0.60])
        assert recording.report.current_sign == "derived from charge"
        assert any("dq/dt" in line for line in recording.report.notes)
        assert recording.report.columns["time_s"].unit == "days"
        assert not any("current taken as" in line for line in recording.report.assumed)

    def test_a_clock_that_stands_still_for_a_sample_gives_no_spike(self, write_mat, tmp_path, formats):
        cell = formats.oxford()
        part = cell["cyc0000"]["C1dc"]
        cell["cyc0000"]["C1dc"] = {name: np.insert(values, 50, [values[50]] * 2) for name, values in part.items()}
        found = read(write_mat(tmp_path / "x.mat", {"Cell1": cell})).cycles[0]
        assert found.current_a[101:] == pytest.approx(np.full(103, -0.74), rel=1e-3)

    def test_a_discharge_whose_charge_counts_up_is_a_discharge(self, write_mat, tmp_path, formats):
        cell = formats.oxford()
        for cycle in cell.values():
            cycle["C1dc"]["q"] = np.abs(cycle["C1dc"]["q"])
        recording = read(write_mat(tmp_path / "x.mat", {"Cell1": cell}))
        assert (recording.cycles[0].current_a[101:] < -0.7).all()

    def test_several_cells_are_listed_and_one_is_read(self, write_mat, tmp_path, formats):
        cells = {f"Cell{number}": formats.oxford((0, 100 * number), (740.0, 700.0)) for number in range(1, 9)}
        path = write_mat(tmp_path / "x.mat", cells)
        with pytest.raises(SeveralCells) as caught:
            read(path)
        assert caught.value.cells == tuple(f"Cell{number}" for number in range(1, 9))
        assert [cycle.index for cycle in read(path, 6).cycles] == [0, 700]

    def test_a_cycle_without_its_charge_is_still_read(self, write_mat, tmp_path, formats):
        cell = formats.oxford()
        del cell["cyc0100"]["C1ch"]
        recording = read(write_mat(tmp_path / "x.mat", {"Cell1": cell}))
        assert [len(cycle) for cycle in recording.cycles] == [202, 101, 202]

    def test_a_clock_in_seconds_is_told_by_the_charge(self, write_mat, tmp_path, formats):
        cell = formats.oxford()
        for cycle in cell.values():
            for part in cycle.values():
                part["t"] = (part["t"] - 735_954.5) * 86_400.0
        recording = read(write_mat(tmp_path / "x.mat", {"Cell1": cell}))
        assert recording.cycles[0].current_a[0] == pytest.approx(0.74, rel=1e-4)
        assert any("time taken as s" in line for line in recording.report.repaired)

    def test_level_5_and_v73_give_the_same_recording(self, writers, tmp_path, formats):
        one, other = (
            read(write(tmp_path / f"{kind}.mat", {"Cell1": formats.oxford()})) for kind, write in writers.items()
        )
        assert one == other
