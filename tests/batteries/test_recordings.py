from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from batteries.recordings import Cycle, Recording


def cycle(index=1, n=3, **columns):
    filled = {name: np.arange(float(n)) for name in ("time_s", "voltage_v", "current_a", "temperature_c")}
    return Cycle(index=index, **(filled | columns))


class TestCycle:
    def test_columns_of_different_lengths_are_refused(self):
        with pytest.raises(ValueError, match="different lengths"):
            cycle(voltage_v=np.zeros(2))

    def test_matrices_are_refused(self):
        with pytest.raises(ValueError, match="voltage_v must be one-dimensional"):
            cycle(voltage_v=np.zeros((3, 1)))

    def test_nothing_can_be_changed(self):
        frozen = cycle()
        with pytest.raises(FrozenInstanceError):
            frozen.index = 2
        with pytest.raises(ValueError, match="read-only"):
            frozen.voltage_v[0] = 1.0

    def test_the_array_given_stays_writable(self):
        mine = np.zeros(3)
        cycle(voltage_v=mine)
        mine[0] = 1.0

    def test_equal_samples_make_equal_cycles_and_nan_equals_nan(self):
        unknown = np.array([0.0, np.nan, 1.0])
        assert cycle(voltage_v=unknown) == cycle(voltage_v=unknown.copy())
        assert cycle(voltage_v=unknown) != cycle()
        assert cycle() != cycle(recorded_capacity_ah=1.0)
        assert cycle() != cycle(recorded_resistance_ohm=0.05)
        assert cycle() != cycle(recorded_charge_ah=1.0)


class TestRecording:
    def test_no_cycles_are_refused(self):
        with pytest.raises(ValueError, match="at least one cycle"):
            Recording(cycles=(), layout="generic")

    @pytest.mark.parametrize("nominal", [0.0, -1.0, np.nan, np.inf])
    def test_a_nominal_capacity_that_cannot_be_is_refused(self, nominal):
        with pytest.raises(ValueError, match="positive number of Ah"):
            Recording(cycles=(cycle(),), layout="generic", nominal_capacity_ah=nominal)

    def test_equality_looks_at_every_field(self):
        recording = Recording(cycles=(cycle(),), layout="generic")
        assert recording == replace(recording, cycles=(cycle(),))
        assert recording != replace(recording, report=("said",))
        assert recording != replace(recording, cycles=(cycle(index=2),))
        assert recording != replace(recording, discharge_cut_off_v=2.7)
