import numpy as np
import pytest

from batteries.cycles import cycle_scalars, discharge_capacities_ah
from batteries.labels import rul, soh
from batteries.matfiles.reader import read
from batteries.samples import ageing, open_circuit_voltage, synthetic_cell, write_mat


def health(cycles=150, seed=0):
    return soh(discharge_capacities_ah(synthetic_cell(cycles=cycles, seed=seed)), 1.1)


class TestPhysics:
    def test_an_open_circuit_voltage_rises_with_the_state_of_charge(self):
        z = np.linspace(0.0, 1.0, 101)
        voltage = open_circuit_voltage(z)
        assert (np.diff(voltage) > 0).all()
        assert voltage[0] == pytest.approx(2.95, abs=0.01)
        assert voltage[-1] == pytest.approx(4.2, abs=0.01)

    def test_charge_is_conserved_over_a_cycle(self):
        found = cycle_scalars(synthetic_cell(cycles=20))
        assert found.coulombic_efficiency == pytest.approx(np.ones(20), abs=0.02)
        assert (found.coulombic_efficiency <= 1.003).all()  # the instrument's noise

    def test_less_energy_comes_out_than_went_in(self):
        found = cycle_scalars(synthetic_cell(cycles=20))
        efficiency = found.energy_wh / found.charge_energy_wh
        assert ((efficiency > 0.9) & (efficiency < 0.99)).all()

    def test_the_resistance_found_is_the_one_put_in(self):
        # 0.055 ohm Ah, within 10 % from cell to cell, of 1.1 Ah; it grows with age
        found = cycle_scalars(synthetic_cell(cycles=20, seed=1)).internal_resistance_ohm
        fresh = found / ageing(20, 1).resistance
        assert fresh == pytest.approx(np.full(20, fresh.mean()), rel=0.06)
        assert 0.9 * 0.05 < fresh.mean() < 1.15 * 0.05

    def test_a_cycle_is_a_charge_and_then_a_discharge_in_increasing_time(self):
        cycle = synthetic_cell(cycles=1).cycles[0]
        assert (np.diff(cycle.time_s) > 0).all()
        assert 120 <= len(cycle) <= 200
        assert np.flatnonzero(cycle.current_a > 0.1).max() < np.flatnonzero(cycle.current_a < -0.1).min()
        assert cycle.voltage_v.max() < 4.21

    def test_a_knee_bends_a_life_down(self):
        bent, even = (ageing(150, seed=4, knee=knee).capacity for knee in (True, False))
        fall = [np.polyfit(np.arange(20), capacity[-20:], 1)[0] / np.polyfit(np.arange(40), capacity[:40], 1)[0]
                for capacity in (bent, even)]  # fmt: skip
        assert fall[0] > 1.5 * fall[1]


class TestLives:
    def test_the_same_seed_gives_the_same_cell_and_another_seed_another(self):
        assert synthetic_cell(cycles=5, seed=1) == synthetic_cell(cycles=5, seed=1)
        lives = np.array([health(seed=seed) for seed in range(4)])
        apart = [np.abs(lives[a] - lives[b]).max() for a in range(4) for b in range(a)]
        assert min(apart) > 0.02

    def test_most_lives_end_inside_the_record_and_begin_healthy(self):
        lives = [health(cycles=100, seed=seed) for seed in range(12)]
        ended = sum(np.isfinite(rul(life, np.arange(1, 101), 0.8)).all() for life in lives)
        assert ended >= 9
        assert all(0.95 < life[0] < 1.06 for life in lives)

    @pytest.mark.parametrize(("cycles", "nominal"), [(0, 1.1), (10, 0.0)])
    def test_what_cannot_be_is_refused(self, cycles, nominal):
        with pytest.raises(ValueError, match=r"at least one cycle|positive"):
            synthetic_cell(cycles=cycles, nominal_capacity_ah=nominal)


class TestFile:
    def test_what_is_written_is_read_back_to_the_last_bit(self, tmp_path):
        cell = synthetic_cell(cycles=20, seed=2)
        write_mat(cell, tmp_path / "cell.mat")
        back = read(tmp_path / "cell.mat")
        assert back.cycles == cell.cycles
        assert (back.nominal_capacity_ah, back.chemistry, back.cell) == (1.1, "NMC", "synthetic-2")

    def test_it_says_that_it_is_synthetic(self, tmp_path):
        cell = synthetic_cell(cycles=2)
        write_mat(cell, tmp_path / "cell.mat")
        back = read(tmp_path / "cell.mat")
        assert cell.manufacturer == back.manufacturer == "synthetic"
        assert "synthetic" in cell.report.notes[0]
        assert any("synthetic" in line for line in back.report.notes)

    def test_a_file_of_150_cycles_is_small(self, tmp_path):
        write_mat(synthetic_cell(cycles=150), tmp_path / "cell.mat")
        assert (tmp_path / "cell.mat").stat().st_size < 2_000_000
