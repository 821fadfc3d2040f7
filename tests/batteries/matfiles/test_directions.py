import numpy as np
import pytest

from batteries.matfiles.directions import courses
from batteries.matfiles.reader import read


def records(formats, current, **more):
    """Three cycles with a current that is made of the signed one."""
    made = [formats.cycle(capacity, 1.0, 2.0) for capacity in (1.0, 0.98, 0.9)]
    return {
        "cycles": [
            {"V": cycle.voltage_v, "I": current(cycle), "time_s": cycle.time_s}
            | {name: value(cycle) for name, value in more.items()}
            for cycle in made
        ]
    }


class TestSigns:
    def check(self, recording):
        for cycle in recording.cycles:
            assert (cycle.current_a[:101] == 1.0).all()
            assert (cycle.current_a[101:] == -2.0).all()

    def test_a_sign_that_is_positive_on_charge_is_kept(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", records(formats, lambda cycle: cycle.current_a)))
        self.check(recording)
        assert recording.report.current_sign == "positive on charge"
        assert recording.report.repaired == ()

    def test_a_sign_that_is_positive_on_discharge_is_turned(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", records(formats, lambda cycle: -cycle.current_a)))
        self.check(recording)
        assert recording.report.current_sign == "positive on discharge"

    def test_sizes_alone_get_their_direction_from_the_voltage(self, write_mat, tmp_path, formats):
        recording = read(write_mat(tmp_path / "x.mat", records(formats, lambda cycle: np.abs(cycle.current_a))))
        self.check(recording)
        assert recording.report.current_sign == "unsigned"
        assert any("no sign in the file" in line for line in recording.report.repaired)

    def test_sizes_alone_get_their_direction_from_counters_of_charge(self, write_mat, tmp_path, formats):
        flat = records(
            formats, lambda cycle: np.abs(cycle.current_a), Charge_Capacity=lambda cycle: cycle.charged_ah,
            Discharge_Capacity=lambda cycle: cycle.discharged_ah, V=lambda cycle: np.full(cycle.voltage_v.size, 3.3),
        )  # fmt: skip
        recording = read(write_mat(tmp_path / "x.mat", flat))
        currents = recording.cycles[0].current_a
        assert (currents[:100] == 1.0).all()  # at the sample where one counter stops the other starts
        assert (currents[103:] == -2.0).all()

    def test_discharges_with_a_positive_current_are_discharges(self, write_mat, tmp_path, formats):
        made = formats.cycle(1.0, 1.0, 2.0)
        part = {"V": made.voltage_v[101:], "I": -made.current_a[101:], "time_s": made.time_s[101:]}
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [part, part]}))
        assert (recording.cycles[0].current_a == -2.0).all()
        assert recording.report.current_sign == "positive on discharge"


class TestRealCells:
    @pytest.mark.parametrize("cell", ["B0005", "B0025", "B0045"])  # constant loads, pulses, cold
    def test_measured_currents_get_their_signs_back(self, writers, tmp_path, nasa, cell):
        measured = read(nasa(cell)).cycles[:12]
        sizes = [{"V": c.voltage_v, "I": np.abs(c.current_a), "time_s": c.time_s} for c in measured]
        found = read(writers["level 5"](tmp_path / "x.mat", {"cycles": sizes})).cycles
        for expected, cycle in zip(measured, found, strict=True):
            flowing = np.abs(expected.current_a) > 0.3
            same = np.sign(cycle.current_a[flowing]) == np.sign(expected.current_a[flowing])
            assert same.mean() > 0.98


class TestCourses:
    def test_a_charge_at_constant_voltage_is_a_charge_up_to_the_jump_down(self):
        random = np.random.default_rng(0)
        voltage = np.concatenate([np.linspace(3.4, 4.2, 500), np.full(400, 4.2), np.linspace(4.08, 3.0, 600)])
        current = np.concatenate([np.full(500, 1.0), np.linspace(1.0, 0.08, 400), np.full(600, 1.0)])
        sign = courses(voltage + 0.001 * random.standard_normal(1500), current, 0.05)
        assert (sign[:900] == 1.0).all()
        assert (sign[900:] == -1.0).all()

    def test_several_cycles_turn_several_times(self):
        one = np.concatenate([np.linspace(3.0, 4.2, 300), np.linspace(4.1, 2.9, 200)])
        sign = courses(np.tile(one, 4), np.ones(2000), 0.05)
        assert np.array_equal(sign, np.tile(np.repeat([1.0, -1.0], [300, 200]), 4))

    def test_a_cold_cell_charges_within_a_tenth_of_the_span_that_its_discharge_has(self):
        voltage = np.concatenate([np.linspace(3.99, 4.2, 40), np.full(900, 4.2), np.linspace(3.96, 2.0, 250)])
        current = np.concatenate([np.full(40, 1.5), np.linspace(1.5, 0.1, 900), np.ones(250)])
        assert np.array_equal(courses(voltage, current, 0.05), np.repeat([1.0, -1.0], [940, 250]))

    def test_a_voltage_that_hardly_moves_says_nothing(self):
        assert courses(np.full(100, 3.3), np.ones(100), 0.05) is None

    def test_a_load_that_is_reduced_is_still_a_load(self):
        voltage = np.concatenate([np.linspace(4.1, 3.2, 500), np.linspace(3.6, 3.55, 20), np.linspace(3.2, 2.8, 200)])
        current = np.concatenate([np.full(500, 5.0), np.full(20, 0.5), np.full(200, 5.0)])
        assert (courses(voltage, current, 0.25) == -1.0).all()
