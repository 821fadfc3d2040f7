"""Voltage and temperature in units that a file does not say, or says wrongly, judged by what a cell can have.

Only what is unambiguous is repaired; what is merely taken for granted is an assumption. See `quantities` for current,
time and charge, which are judged together.
"""

from collections.abc import Callable, Sequence

import numpy as np

from batteries.matfiles.entries import Floats, spread
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples

MILLIVOLTS = (500.0, 10_000.0)  # a median voltage in here is a cell's in mV
CELL_VOLTS = (0.3, 6.0)
KELVINS = (200.0, 400.0)


def change(records: Sequence[Samples], column: str, convert: Callable[[Floats], Floats]) -> list[Samples]:
    """The records with one column converted."""
    return [record | {column: convert(record[column])} for record in records]


def middle(records: Sequence[Samples], column: str) -> float:
    """Median of a column, of records spread over the file; NaN where it has no finite value."""
    values = [record[column] for record in (records[at] for at in spread(len(records)))]
    finite = [some[np.isfinite(some)] for some in values]
    known = np.concatenate(finite) if finite else np.empty(0)
    return float(np.median(known)) if known.size else float("nan")


def in_volts(records: list[Samples], findings: Findings) -> list[Samples]:
    """The records with the voltage of one cell in V."""
    median = middle(records, "voltage_v")
    if MILLIVOLTS[0] <= median <= MILLIVOLTS[1]:
        findings.read_in("voltage_v", "mV", f"voltage taken as mV: its median is {median:.4g}, which no cell has in V")
        return change(records, "voltage_v", lambda values: values / 1000.0)
    if not CELL_VOLTS[0] <= median <= CELL_VOLTS[1]:
        findings.assumed.append(f"voltage taken as V although its median of {median:.4g} is not one cell's")
    elif "voltage_v" not in findings.said:
        findings.assumed.append("voltage taken as V")
    return records


def in_celsius(records: list[Samples], findings: Findings) -> list[Samples]:
    """The records with the temperature in °C."""
    median = middle(records, "temperature_c")
    if not np.isfinite(median):
        findings.missing.append("no temperature in the file")
        findings.origins.pop("temperature_c", None)
        return records
    if KELVINS[0] <= median <= KELVINS[1]:
        findings.read_in("temperature_c", "K", f"temperature taken as K: its median is {median:.4g}")
        return change(records, "temperature_c", lambda values: values - 273.15)
    if "temperature_c" not in findings.said:
        findings.assumed.append("temperature taken as °C")
    return records
