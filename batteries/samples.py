"""Synthetic cells from a small physical model, for the demo and for tests. They say that they are synthetic.

A cell is an open-circuit voltage U(z) over the state of charge z in series with one resistance R:
V = U(z) + I·R (I positive on charge), dz/dt = I / (3600·Q). Both age: the capacity Q fades as a power of the cycle
number, with a knee where the cell has one, and R grows with the lost capacity. Each cycle is a constant-current charge,
a constant-voltage charge, a rest, a constant-current discharge and the rest after its cut-off, with measurement noise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batteries.recordings import Cycle, Recording
from batteries.reports import Report

Floats = NDArray[np.float64]

MANUFACTURER = "synthetic"
DESCRIPTION = "synthetic cell from a physical model, not a measurement"

CHARGE_LIMIT_V = 4.2
DISCHARGE_LIMIT_V = 2.75
CHARGE_C_RATE = 0.75
DISCHARGE_C_RATE = 1.0
CUT_OFF_C_RATE = 0.05  # ends the constant-voltage charge
END_OF_LIFE = 0.8
CHARGE_SAMPLES = 80
DISCHARGE_SAMPLES = 72
REST_SAMPLES = 4
REST_S = 1800.0
RESISTANCE_OHM_AH = 0.055  # of a fresh cell, times its capacity: 0.05 ohm for 1.1 Ah
AMBIENT_C = 25.0
HEATING_K_AH_PER_W = 13.0  # a larger cell has more surface
HEATING_S = 900.0


@dataclass(frozen=True)
class Ageing:
    """Relative capacity and resistance by cycle; (N,) each, 1.0 is a fresh cell of nominal capacity."""

    capacity: Floats
    resistance: Floats


def open_circuit_voltage(state_of_charge: Floats) -> Floats:
    """U(z) in V of a layered-oxide cell: 2.95 V empty, 4.2 V full, a soft step at 55 %."""
    z = state_of_charge
    return 3.5 + 0.65 * z - 0.5 * np.exp(-18.0 * z) + 0.05 * np.tanh((z - 0.55) / 0.08)


def ageing(cycles: int, seed: int, *, knee: bool | None = None) -> Ageing:
    """A life of its own for every seed.

    Capacity falls from about 1 to `END_OF_LIFE` after 45-85 % of the cycles for nine seeds of ten, later than the
    record for the tenth. A knee (one seed of two, unless `knee` says) bends the curve down at 60-85 % of that life.
    Small rises after rests are part of it, as in real cells.
    """
    random = np.random.default_rng([seed, 1])
    start = random.uniform(0.99, 1.04)
    life = cycles * (random.uniform(0.45, 0.85) if random.random() < 0.9 else random.uniform(1.2, 1.6))
    bends = bool(random.random() < 0.5) if knee is None else knee
    gradual = random.uniform(0.5, 0.7) if bends else 1.0
    exponent = random.uniform(0.75, 1.15)
    knee_at = random.uniform(0.6, 0.85)
    rests = np.where(random.random(cycles) < 0.04, random.uniform(0.002, 0.012, cycles), 0.0)
    growth = random.uniform(2.0, 4.0)

    x = np.arange(1, cycles + 1) / life
    bend = 0.05 * np.logaddexp(0.0, (x - knee_at) / 0.05)
    bend /= 0.05 * np.logaddexp(0.0, (1.0 - knee_at) / 0.05)
    loss = (start - END_OF_LIFE) * (gradual * x**exponent + (1.0 - gradual) * bend)
    recovery = np.convolve(rests, np.exp(-np.arange(12) / 4.0))[:cycles]
    capacity = np.maximum(start - loss + recovery, 0.4)
    return Ageing(capacity=capacity, resistance=1.0 + growth * np.maximum(start - capacity, 0.0))


def synthetic_cell(
    cycles: int = 150, nominal_capacity_ah: float = 1.1, seed: int = 0, *, knee: bool | None = None
) -> Recording:
    """A synthetic cell's whole record; the same arguments give the same cell.

    Raises:
        ValueError: fewer than one cycle, or a nominal capacity that is not positive.
    """
    if cycles < 1:
        raise ValueError(f"a cell needs at least one cycle, not {cycles}")
    if not nominal_capacity_ah > 0:
        raise ValueError(f"nominal capacity must be a positive number of Ah, not {nominal_capacity_ah}")
    life = ageing(cycles, seed, knee=knee)
    random = np.random.default_rng([seed, 2])
    resistance_ohm = random.uniform(0.9, 1.1) * RESISTANCE_OHM_AH / nominal_capacity_ah * life.resistance
    measured = tuple(
        _cycle(position + 1, life.capacity[position] * nominal_capacity_ah, resistance_ohm[position],
               nominal_capacity_ah, random)
        for position in range(cycles)
    )  # fmt: skip
    return Recording(
        cycles=measured,
        layout="synthetic",
        cell=f"synthetic-{seed}",
        nominal_capacity_ah=nominal_capacity_ah,
        manufacturer=MANUFACTURER,
        chemistry="NMC",
        report=Report(remarks=(f"{DESCRIPTION} (seed {seed})",)),
    )


def _cycle(
    index: int, capacity_ah: float, resistance_ohm: float, nominal_ah: float, random: np.random.Generator
) -> Cycle:
    """One measured cycle of a cell that now holds `capacity_ah` and has `resistance_ohm`."""
    charge_s, charge_a, full = _charge(capacity_ah, resistance_ohm, nominal_ah)
    load_s, load_a, load_z = _discharge(capacity_ah, resistance_ohm, nominal_ah, full)
    rest_s = np.linspace(30.0, REST_S, REST_SAMPLES)
    start_s = charge_s[-1] + REST_S

    time_s = np.concatenate([charge_s, start_s + load_s, start_s + load_s[-1] + rest_s])
    current = np.concatenate([charge_a, load_a, np.zeros(REST_SAMPLES)])
    z_charge = np.concatenate([[0.0], np.cumsum(np.diff(charge_s) * (charge_a[1:] + charge_a[:-1]) / 2.0)]) / (
        3600.0 * capacity_ah
    )
    z = np.concatenate([z_charge, load_z, np.full(REST_SAMPLES, load_z[-1])])
    voltage = np.minimum(open_circuit_voltage(z) + current * resistance_ohm, CHARGE_LIMIT_V)
    heat = HEATING_K_AH_PER_W / nominal_ah * current**2 * resistance_ohm
    warming = np.concatenate([-np.expm1(-charge_s / HEATING_S), -np.expm1(-load_s / HEATING_S), np.ones(REST_SAMPLES)])
    temperature = AMBIENT_C + heat * warming
    noise = random.standard_normal((3, time_s.size))
    return Cycle(
        index=index,
        time_s=time_s,
        voltage_v=voltage + 0.0008 * noise[0],
        current_a=current + 0.0004 * nominal_ah * noise[1],
        temperature_c=temperature + 0.08 * noise[2],
    )


def _charge(capacity_ah: float, resistance_ohm: float, nominal_ah: float) -> tuple[Floats, Floats, float]:
    """Time (s) and current (A) of a CC-CV charge of the empty cell, and the state of charge at its end.

    On a grid of z the current is the constant one until V reaches the limit, then what the limit allows;
    t = ∫ 3600·Q / I dz.
    """
    z = np.linspace(0.0, 1.0, 2000)
    allowed = (CHARGE_LIMIT_V - open_circuit_voltage(z)) / resistance_ohm
    current = np.minimum(CHARGE_C_RATE * nominal_ah, allowed)
    z, current = z[current >= CUT_OFF_C_RATE * nominal_ah], current[current >= CUT_OFF_C_RATE * nominal_ah]
    pace = 3600.0 * capacity_ah / current
    time_s = np.concatenate([[0.0], np.cumsum(np.diff(z) * (pace[1:] + pace[:-1]) / 2.0)])
    sampled_s = np.linspace(0.0, time_s[-1], CHARGE_SAMPLES)
    return sampled_s, np.interp(sampled_s, time_s, current), float(z[-1])


def _discharge(
    capacity_ah: float, resistance_ohm: float, nominal_ah: float, full: float
) -> tuple[Floats, Floats, Floats]:
    """Time (s), current (A) and state of charge from `full` to the cut-off voltage; the first sample is at rest."""
    load_a = DISCHARGE_C_RATE * nominal_ah
    grid = np.linspace(0.0, full, 4000)
    under_load = open_circuit_voltage(grid) - load_a * resistance_ohm
    empty = float(np.interp(DISCHARGE_LIMIT_V, under_load, grid))
    z = np.linspace(full, empty, DISCHARGE_SAMPLES - 1)
    time_s = 5.0 + (full - z) * 3600.0 * capacity_ah / load_a
    return (
        np.concatenate([[0.0], time_s]),
        np.concatenate([[0.0], np.full(z.size, -load_a)]),
        np.concatenate([[full], z]),
    )


def write_mat(recording: Recording, path: Path) -> None:
    """Write a recording as a compressed MAT-file of level 5 in the generic layout.

    A 1-by-N struct array `cycles` with the fields cycle_index, time_s, voltage_V, current_A and temperature_C, and
    beside it nominal_capacity_Ah, manufacturer, chemistry, cell and description where they are known.
    """
    from scipy.io import savemat

    columns = [("cycle_index", "O"), ("time_s", "O"), ("voltage_V", "O"), ("current_A", "O"), ("temperature_C", "O")]
    cycles = np.empty((1, len(recording)), dtype=columns)
    for position, cycle in enumerate(recording.cycles):
        samples = (cycle.time_s, cycle.voltage_v, cycle.current_a, cycle.temperature_c)
        cycles[0, position] = (np.array([[float(cycle.index)]]), *(column.reshape(-1, 1) for column in samples))
    facts = {
        "cell": recording.cell,
        "nominal_capacity_Ah": recording.nominal_capacity_ah,
        "manufacturer": recording.manufacturer,
        "chemistry": recording.chemistry,
        "description": DESCRIPTION if recording.manufacturer == MANUFACTURER else None,
    }
    known = {name: fact for name, fact in facts.items() if fact is not None}
    savemat(path, {"cycles": cycles, **known}, do_compression=True)
