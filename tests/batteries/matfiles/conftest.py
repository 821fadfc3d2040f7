"""Files as other laboratories lay them out, built from a cell whose numbers can be followed by hand.

One cycle: a charge at `charge_a` and a discharge at `load_a`, each to the whole `capacity_ah`, in steps of 1/100 of it,
with ten minutes of rest after the charge. The voltage rises evenly from 3.0 to 3.6 V and falls from 3.4 to 2.0 V.
"""

from types import SimpleNamespace

import numpy as np
import pytest

STEPS = 101
REST_S = 600.0


def made_cycle(capacity_ah, charge_a, load_a):
    """Columns (202,) in SI units, current positive on charge, and counters of charge in Ah."""
    charge_s = np.linspace(0.0, capacity_ah / charge_a * 3600.0, STEPS)
    load_s = np.linspace(0.0, capacity_ah / load_a * 3600.0, STEPS)
    moved = np.linspace(0.0, capacity_ah, STEPS)
    return SimpleNamespace(
        time_s=np.concatenate([charge_s, charge_s[-1] + REST_S + load_s]),
        voltage_v=np.concatenate([np.linspace(3.0, 3.6, STEPS), np.linspace(3.4, 2.0, STEPS)]),
        current_a=np.concatenate([np.full(STEPS, charge_a), np.full(STEPS, -load_a)]),
        temperature_c=np.concatenate([np.linspace(30.0, 34.0, STEPS), np.linspace(34.0, 38.0, STEPS)]),
        charged_ah=np.concatenate([moved, np.full(STEPS, capacity_ah)]),
        discharged_ah=np.concatenate([np.zeros(STEPS), moved]),
        capacity_ah=capacity_ah,
    )


def matr_cycle(cycle):
    return {
        "I": cycle.current_a, "V": cycle.voltage_v, "T": cycle.temperature_c, "t": cycle.time_s / 60.0,
        "Qc": cycle.charged_ah, "Qd": cycle.discharged_ah, "Qdlin": np.linspace(0.0, 1.0, 1000),
        "Tdlin": np.full(1000, 34.0), "discharge_dQdV": np.zeros(1000),
    }  # fmt: skip


@pytest.fixture(scope="session")
def formats():
    """Builders of files' variables, by the names of their layouts, and the cycle that they are made of."""
    return SimpleNamespace(cycle=made_cycle, matr=matr_cell, xjtu=xjtu_file, oxford=oxford_cell)


def matr_cell(capacities=(1.05, 1.07, 1.06), *, placeholder=False):
    """`cycles` and `summary` of a MATR cell: 3.6C charge, 4C discharge of 1.1 Ah. A placeholder holds two zeros."""
    cycles = [matr_cycle(made_cycle(capacity, 3.96, 4.4)) for capacity in capacities]
    if placeholder:
        cycles[0] = dict.fromkeys(cycles[0], np.zeros(2))
    count = len(capacities)
    return {
        "cycles": cycles,
        "summary": {
            "cycle": np.arange(1.0, count + 1).reshape(-1, 1),
            "QDischarge": np.array([0.0 if placeholder and not at else ah for at, ah in enumerate(capacities)]),
            "QCharge": np.reshape(capacities, (-1, 1)) + 0.001,
            "IR": np.full((count, 1), 0.0167),
            "Tavg": np.full((count, 1), 33.0), "Tmin": np.full((count, 1), 30.0), "Tmax": np.full((count, 1), 38.0),
            "chargetime": np.full((count, 1), 10.0),
        },
    }  # fmt: skip


def xjtu_file(capacities=(1.99, 1.97, 1.95), **summary):
    """`data` and `summary` of an XJTU cell: 2C charge, 1C discharge of 2 Ah; the counter starts anew at each step."""
    cycles = [made_cycle(capacity, 4.0, 2.0) for capacity in capacities]
    data = [
        {
            "system_time": "2022-09-16 10:00:00",
            "relative_time_min": cycle.time_s / 60.0,
            "voltage_V": cycle.voltage_v + 0.6,
            "current_A": cycle.current_a,
            "capacity_Ah": np.where(cycle.current_a > 0, cycle.charged_ah, cycle.discharged_ah),
            "power_Wh": np.zeros(2 * STEPS),
            "temperature_C": cycle.temperature_c,
            "description": "CC-CV charge, CC discharge",
        }
        for cycle in cycles
    ]
    rows = {"discharge_capacity_Ah": np.array(capacities), "charge_capacity_Ah": np.array(capacities) + 0.002}
    return {"data": data, "summary": {**rows, "cycle_life": float(len(capacities)), **summary}}


def oxford_part(start_days, duration_s, charge_mah, volts):
    steps = np.linspace(0.0, 1.0, STEPS)
    return {
        "t": start_days + steps * duration_s / 86_400.0,
        "v": np.linspace(*volts, STEPS),
        "q": steps * charge_mah,
        "T": np.full(STEPS, 40.0),
    }


def oxford_cell(numbers=(0, 100, 8200), capacities_mah=(740.0, 730.0, 600.0)):
    """A cell's characterisations: 1C charge and discharge at 740 mA, slow ones beside; a clock of day numbers."""
    cell = {}
    for number, mah in zip(numbers, capacities_mah, strict=True):
        start, lasts_s = 735_954.5 + number / 50.0, mah / 740.0 * 3600.0
        later = start + (lasts_s + REST_S) / 86_400.0
        cell[f"cyc{number:04d}"] = {
            "C1ch": oxford_part(start, lasts_s, mah, (3.0, 4.2)),
            "C1dc": oxford_part(later, lasts_s, -mah, (4.1, 2.7)),
            "OCVch": oxford_part(later + 0.1, 20 * lasts_s, mah, (2.8, 4.2)),
            "OCVdc": oxford_part(later + 1.0, 20 * lasts_s, -mah, (4.2, 2.7)),
        }
    return cell
