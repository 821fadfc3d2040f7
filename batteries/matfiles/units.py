"""Units that names and layouts mention, each with what one of it is in the product's unit."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Unit(NamedTuple):
    """value in the product's unit = factor · value + offset."""

    symbol: str
    factor: float = 1.0
    offset: float = 0.0


def _named(units: Mapping[Unit, str]) -> dict[str, Unit]:
    return {spelling: unit for unit, spellings in units.items() for spelling in spellings.split()}


TIME = _named(
    {
        Unit("s"): "s sec secs second seconds",
        Unit("ms", 1e-3): "ms msec millisecond milliseconds",
        Unit("min", 60.0): "min mins minute minutes",
        Unit("h", 3600.0): "h hr hrs hour hours",
        Unit("days", 86_400.0): "d day days datenum",
    }
)
VOLTAGE = _named({Unit("V"): "v volt volts", Unit("mV", 1e-3): "mv millivolt millivolts"})
CURRENT = _named({Unit("A"): "a amp amps ampere amperes", Unit("mA", 1e-3): "ma milliamp milliamps milliampere"})
TEMPERATURE = _named(
    {
        Unit("°C"): "c degc celsius deg °c",
        Unit("K", 1.0, -273.15): "k kelvin",
        Unit("°F", 5.0 / 9.0, -160.0 / 9.0): "f degf fahrenheit °f",
    }
)
CHARGE = _named(
    {Unit("Ah"): "ah amphr amphour", Unit("mAh", 1e-3): "mah", Unit("As", 1.0 / 3600.0): "as coulomb coulombs"}
)
RESISTANCE = _named({Unit("Ω"): "ohm ohms", Unit("mΩ", 1e-3): "mohm mohms milliohm"})

UNITS: dict[str, dict[str, Unit]] = {
    "time_s": TIME,
    "voltage_v": VOLTAGE,
    "current_a": CURRENT,
    "temperature_c": TEMPERATURE,
    "capacity_ah": CHARGE,  # one number a cycle, or a counter
    "discharged_ah": CHARGE,
    "charged_ah": CHARGE,
    "charge_ah": CHARGE,  # a counter that rises on charge and falls on discharge, or runs for one of them
    "resistance_ohm": RESISTANCE,
    "cycle_index": {},
}
SYMBOLS = {column: next(iter(units.values())).symbol if units else "" for column, units in UNITS.items()}


def unit(column: str, name: str) -> Unit:
    """A unit by one of its spellings.

    Raises:
        KeyError: the column has no unit of that name.
    """
    return UNITS[column][name.lower()]


def converted(values: Floats, unit: Unit | None) -> Floats:
    """Values in the product's unit; the same array where nothing changes."""
    if unit is None or (unit.factor == 1.0 and unit.offset == 0.0):
        return values
    return values * unit.factor + unit.offset
