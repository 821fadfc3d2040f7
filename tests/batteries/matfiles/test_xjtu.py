import numpy as np
import pytest

from batteries.matfiles.reader import read


class TestRead:
    def test_a_file_gives_its_cycles_in_seconds_with_the_capacities_of_the_summary(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", formats.xjtu()))
        assert (recording.layout, recording.nominal_capacity_ah, recording.chemistry) == ("xjtu", 2.0, "NCM")
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == [1.99, 1.97, 1.95]
        expected = formats.cycle(1.99, 4.0, 2.0)
        assert recording.cycles[0].time_s == pytest.approx(expected.time_s)
        assert recording.cycles[0].current_a == pytest.approx(expected.current_a)
        assert recording.report.columns["time_s"].name == "relative_time_min"
        assert recording.report.repaired == ()

    def test_without_a_summary_the_counter_of_each_step_gives_the_capacity(self, write_mat, tmp_path, formats):
        variables = formats.xjtu()
        del variables["summary"]
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.layout == "xjtu"
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx([1.99, 1.97, 1.95])

    def test_a_cell_array_of_structs_is_the_same(self, write_mat, tmp_path, formats):
        variables = formats.xjtu()
        whole = read(write_mat(tmp_path / "x.mat", variables))
        listed = read(write_mat(tmp_path / "y.mat", variables | {"data": tuple(variables["data"])}))
        assert whole.cycles == listed.cycles

    def test_a_summary_may_be_a_struct_for_each_cycle(self, write_mat, tmp_path, formats):
        variables = formats.xjtu()
        rows = [
            {"discharge_capacity_Ah": ah, "cycle_life": 3.0} for ah in variables["summary"]["discharge_capacity_Ah"]
        ]
        recording = read(write_mat(tmp_path / "x.mat", variables | {"summary": rows}))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == [1.99, 1.97, 1.95]

    def test_one_cycle_with_a_list_of_dates_is_one_cycle(self, write_mat, tmp_path, formats):
        variables = formats.xjtu((1.99,))
        variables["data"] = variables["data"][0] | {"system_time": ("2022-09-16 10:00:00", "2022-09-16 10:00:01")}
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert (recording.layout, len(recording)) == ("xjtu", 1)

    def test_the_names_alone_make_no_cell_of_this_set(self, write_mat, tmp_path, formats):
        names = ("relative_time_min", "voltage_V", "current_A")
        data = [{name: cycle[name] for name in names} for cycle in formats.xjtu()["data"]]
        recording = read(write_mat(tmp_path / "x.mat", {"data": data}))
        assert (recording.layout, recording.nominal_capacity_ah) == ("generic", None)

    def test_level_5_and_v73_give_the_same_recording(self, writers, tmp_path, formats):
        one, other = (read(write(tmp_path / f"{kind}.mat", formats.xjtu())) for kind, write in writers.items())
        assert one == other

    def test_a_temperature_of_another_length_is_unknown_and_the_cycle_stays(self, write_mat, tmp_path, formats):
        variables = formats.xjtu()
        variables["data"][1]["temperature_C"] = np.array([25.0, 26.0])
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert np.isnan(recording.cycles[1].temperature_c).all()
        assert any("is unknown: no. 2" in line for line in recording.report.missing)
