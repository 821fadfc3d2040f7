"""Units of time, current and charge that a file does not say: what the recorded capacity and physics settle."""

import numpy as np
import pytest

from batteries.matfiles.reader import read


def records(formats, *, charge_a, load_a, capacity_ah=1.0, time=1.0, current=1.0, capacity=None, names=("t", "I", "Q")):
    """Three cycles with time, current and capacity (None: none) multiplied by factors, under names without units."""
    cycle = formats.cycle(capacity_ah, charge_a, load_a)
    columns = {"V": cycle.voltage_v, names[0]: time * cycle.time_s, names[1]: current * cycle.current_a}
    if capacity is not None:
        columns[names[2]] = capacity * capacity_ah
    return {"cycles": [columns] * 3}, cycle


class TestByCapacity:
    """∫ I dt is the recorded capacity: whatever the rates are."""

    @pytest.mark.parametrize(("charge_a", "load_a"), [(1.0, 1.0), (4.0, 4.0), (9.0, 9.0), (0.05, 0.05)])
    @pytest.mark.parametrize("time", [1.0, 1 / 60, 1 / 3600, 1000.0])
    def test_a_clock_in_any_unit_is_read_in_seconds(self, writers, tmp_path, formats, charge_a, load_a, time):
        variables, cycle = records(formats, charge_a=charge_a, load_a=load_a, time=time, capacity=1.0)
        found = read(writers["level 5"](tmp_path / "x.mat", variables)).cycles[0]
        assert found.time_s == pytest.approx(cycle.time_s)
        assert found.current_a == pytest.approx(cycle.current_a)
        assert found.recorded_capacity_ah == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("time", "current", "capacity"),
        [(1.0, 1000.0, 1000.0), (1 / 60, 1000.0, 1000.0), (1.0, 1000.0, 1.0), (1.0, 1.0, 1000.0), (1.0, 1.0, 3600.0)],
    )
    def test_mixed_units_of_current_and_capacity(self, write_mat, tmp_path, formats, time, current, capacity):
        variables, cycle = records(
            formats, charge_a=1.5, load_a=3.0, capacity_ah=2.9, time=time, current=current, capacity=capacity
        )
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s)
        assert recording.cycles[0].current_a == pytest.approx(cycle.current_a)
        assert recording.cycles[0].recorded_capacity_ah == pytest.approx(2.9)

    def test_a_unit_that_a_name_says_wrongly_is_repaired(self, write_mat, tmp_path, formats):
        variables, cycle = records(
            formats, charge_a=1.0, load_a=2.0, time=1 / 60, capacity=1.0, names=("time_s", "current_A", "capacity_Ah")
        )
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s)
        assert any("time taken as minutes" in line for line in recording.report.repaired)
        assert recording.report.columns["time_s"].unit == "min"

    def test_units_that_names_say_and_capacities_agree_with_are_left_alone(self, write_mat, tmp_path, formats):
        variables, cycle = records(
            formats, charge_a=1.0, load_a=2.0, time=1 / 60, current=1000.0, capacity=1000.0,
            names=("time_min", "I_mA", "capacity_mAh"),
        )  # fmt: skip
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s)
        assert recording.report.repaired == ()

    def test_a_minute_of_charge_and_of_discharge_stays_a_minute_where_the_capacity_says_so(
        self, write_mat, tmp_path, formats
    ):
        cycle = formats.cycle(1 / 60, 1.0, 1.0)
        record = {"V": cycle.voltage_v, "I": cycle.current_a, "t": cycle.time_s, "Q": 1 / 60}
        found = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 3})).cycles[0]
        assert found.time_s == pytest.approx(cycle.time_s)

    @pytest.mark.parametrize("wrong", [6.4, 0.01, 1 / 36, 300.0])
    def test_capacities_that_fit_no_unit_leave_what_is_said_alone(self, write_mat, tmp_path, formats, wrong):
        cell = formats.matr()
        cell["summary"]["QDischarge"] = wrong * cell["summary"]["QDischarge"]
        recording = read(write_mat(tmp_path / "x.mat", cell))
        assert recording.cycles[0].time_s == pytest.approx(formats.cycle(1.05, 3.96, 4.4).time_s)
        assert recording.report.repaired == ()
        assert any("times the integral of the current" in line for line in recording.report.assumed)


class TestByLength:
    """Without a capacity only the length and the steps of the clock tell; what they leave open is s, and said."""

    def test_a_clock_in_minutes_of_a_record_by_the_second_is_told_by_its_steps(self, write_mat, tmp_path):
        seconds = np.arange(0.0, 36_000.0, 10.0)
        record = {
            "V": np.where(seconds < 18_000, 3.0 + seconds / 18_000, 5.0 - seconds / 18_000), "t": seconds / 60.0,
            "I": np.where(seconds < 18_000, 0.2, -0.2),
        }  # fmt: skip
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 2}))
        assert recording.cycles[0].time_s == pytest.approx(seconds)
        assert any("whole seconds" in line for line in recording.report.repaired)

    def test_what_may_be_minutes_stays_seconds_and_the_report_says_so(self, write_mat, tmp_path, formats):
        variables, cycle = records(formats, charge_a=20.0, load_a=20.0)  # 2 · 180 s, and 600 s of rest
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s)
        assert any("may be minutes" in line for line in recording.report.assumed)


class TestClocks:
    def test_day_numbers_become_seconds(self, write_mat, tmp_path, formats):
        cycle = formats.cycle(1.0, 1.0, 2.0)
        record = {"V": cycle.voltage_v, "I": cycle.current_a, "t": 735_954.5 + cycle.time_s / 86_400.0}
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 2}))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s, abs=1e-3)

    @pytest.mark.parametrize(
        "texts",
        [
            lambda seconds: tuple(
                str(np.datetime64("2022-09-16T10:00:00") + int(s)).replace("T", " ") for s in seconds
            ),
            lambda seconds: tuple(
                f"{int(s) // 3600:02d}:{int(s) % 3600 // 60:02d}:{int(s) % 60:02d}.000" for s in seconds
            ),
        ],
    )
    def test_dates_and_times_as_texts_become_seconds(self, write_mat, tmp_path, formats, texts):
        cycle = formats.cycle(1.0, 1.0, 2.0)
        record = {"V": cycle.voltage_v, "I": cycle.current_a, "time": texts(cycle.time_s)}
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 2}))
        assert recording.cycles[0].time_s == pytest.approx(cycle.time_s)

    def test_texts_that_are_no_times_leave_the_time_unknown(self, write_mat, tmp_path, formats):
        cycle = formats.cycle(1.0, 1.0, 2.0)
        record = {"V": cycle.voltage_v, "I": cycle.current_a, "time": ("soon",) * 202}
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 2}))
        assert np.isnan(recording.cycles[0].time_s).all()

    def test_seconds_since_1970_count_from_the_first_sample(self, write_mat, tmp_path, formats):
        variables, cycle = records(formats, charge_a=1.0, load_a=2.0, capacity=1.0)
        variables["cycles"] = [record | {"t": record["t"] + 1.6e9} for record in variables["cycles"]]
        assert read(write_mat(tmp_path / "x.mat", variables)).cycles[0].time_s == pytest.approx(cycle.time_s, abs=1e-3)


class TestTemperatures:
    @pytest.mark.parametrize(
        ("name", "convert"),
        [
            ("T", lambda c: c + 273.15),
            ("T_K", lambda c: c + 273.15),
            ("temp_F", lambda c: 1.8 * c + 32.0),
            ("T", lambda c: c),
        ],
    )
    def test_kelvins_and_fahrenheits_become_degrees(self, write_mat, tmp_path, formats, name, convert):
        variables, cycle = records(formats, charge_a=1.0, load_a=2.0, capacity=1.0)
        record = variables["cycles"][0] | {name: convert(cycle.temperature_c)}
        found = read(write_mat(tmp_path / "x.mat", {"cycles": [record] * 2})).cycles[0]
        assert found.temperature_c == pytest.approx(cycle.temperature_c)
