"""Units and signs that a file does not say, judged by what a cell can do. Each repair says so in the report.

Only what is unambiguous is repaired; what is merely taken for granted is said as an assumption.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.layout import Samples

Floats = NDArray[np.float64]

MILLIVOLTS = (500.0, 10_000.0)  # a median voltage in here is a cell's in mV
CELL_VOLTS = (0.3, 6.0)
KELVINS = (200.0, 400.0)
LARGEST_CELL_A = 2_000.0
LARGEST_C_RATE = 100.0
SHORTEST_CYCLE_S = 1200.0  # a charge and a discharge together; the fastest laboratory protocols take half an hour
SHORTEST_CYCLE_MIN = 25.0
DATENUMS = (600_000.0, 900_000.0)  # MATLAB's day numbers of the years 1643 to 2464
SECONDS_PER_HOUR = 3600.0
PLAUSIBLE = (0.15, 1.5)  # charge of a cycle / nominal capacity
SECONDS_PER_DAY = 86_400.0


def known(records: Sequence[Samples], column: str) -> Floats:
    """All finite values of a column."""
    values: Floats = np.concatenate([record[column] for record in records]) if records else np.empty(0)
    finite: Floats = values[np.isfinite(values)]
    return finite


def change(records: Sequence[Samples], column: str, convert: Callable[[Floats], Floats]) -> list[Samples]:
    """The records with one column converted."""
    return [record | {column: convert(record[column])} for record in records]


def in_product_units(
    records: Sequence[Samples], said: set[str], nominal_capacity_ah: float | None
) -> tuple[list[Samples], list[str]]:
    """The records in V, A, s, °C with current positive on charge, and what was assumed or repaired.

    `said` are the columns whose unit the file names; those units have been applied already.
    """
    report: list[str] = []
    fixed = _voltage(list(records), said, report)
    fixed = _temperature(fixed, said, report)
    fixed = _current(fixed, said, nominal_capacity_ah, report)
    fixed = _clock(fixed, said, nominal_capacity_ah, report)
    return _sign(fixed, report), report


def _voltage(records: list[Samples], said: set[str], report: list[str]) -> list[Samples]:
    voltage = known(records, "voltage_v")
    middle = float(np.median(voltage)) if voltage.size else np.nan
    if MILLIVOLTS[0] <= middle <= MILLIVOLTS[1]:
        report.append(f"voltage taken as mV: its median is {middle:.4g}, which no cell has in V")
        return change(records, "voltage_v", lambda values: values / 1000.0)
    if not CELL_VOLTS[0] <= middle <= CELL_VOLTS[1]:
        report.append(f"voltage taken as V although its median of {middle:.4g} is not one cell's")
    elif "voltage_v" not in said:
        report.append("voltage taken as V")
    return records


def _temperature(records: list[Samples], said: set[str], report: list[str]) -> list[Samples]:
    temperature = known(records, "temperature_c")
    if not temperature.size:
        report.append("no temperature in the file")
        return records
    middle = float(np.median(temperature))
    if KELVINS[0] <= middle <= KELVINS[1]:
        report.append(f"temperature taken as K: its median is {middle:.4g}")
        return change(records, "temperature_c", lambda values: values - 273.15)
    if "temperature_c" not in said:
        report.append("temperature taken as °C")
    return records


def _clock(records: list[Samples], said: set[str], nominal_ah: float | None, report: list[str]) -> list[Samples]:
    """Seconds from each cycle's first sample on; a clock that starts anew at the discharge goes on instead."""
    if not known(records, "time_s").size:
        report.append("no time in the file: charges, durations and the early discharge cannot be known")
        return records
    restarted = 0
    timed: list[Samples] = []
    for record in records:
        time_s, restarts = _continuous(record["time_s"])
        restarted += restarts > 0
        timed.append(record | {"time_s": time_s})
    if restarted:
        report.append(f"{restarted} cycles whose clock starts anew within the cycle; it goes on there instead")
    factor, why = _time_unit(records, timed, said, nominal_ah)
    if why:
        report.append(why)
    return change(timed, "time_s", lambda values: values * factor) if factor != 1.0 else timed


def _continuous(time: Floats) -> tuple[Floats, int]:
    """Time from the first known sample on, and how often it went back."""
    finite = np.flatnonzero(np.isfinite(time))
    if not finite.size:
        return time, 0
    steps = np.diff(time[finite])
    back = steps < 0
    relative = np.full(time.shape, np.nan)
    relative[finite] = np.append(0.0, np.cumsum(np.where(back, 0.0, steps)))
    return relative, int(back.sum())


def _time_unit(raw: list[Samples], timed: list[Samples], said: set[str], nominal_ah: float | None) -> tuple[float, str]:
    """Factor to seconds, and the sentence for the report; empty where the file names the unit."""
    first = float(np.median(known(raw, "time_s")))
    if "time_s" in said:
        return 1.0, ""
    if DATENUMS[0] <= first <= DATENUMS[1]:
        return SECONDS_PER_DAY, "time taken as MATLAB day numbers"
    charge = float(np.median([_charge(record) for record in timed]))
    for factor, unit in ((1.0, "s"), (60.0, "minutes"), (3600.0, "hours")):
        if nominal_ah and PLAUSIBLE[0] <= charge * factor / SECONDS_PER_HOUR / nominal_ah <= PLAUSIBLE[1]:
            return factor, f"time taken as {unit}: the charge that flows then fits the nominal capacity"
    lengths = [float(np.nanmax(record["time_s"])) for record in timed if np.isfinite(record["time_s"]).any()]
    length = float(np.median([length for length in lengths if length > 0] or [0.0]))
    if length >= SHORTEST_CYCLE_S or length == 0.0:
        return 1.0, "time taken as s"
    if length >= SHORTEST_CYCLE_MIN:
        return 60.0, f"time taken as minutes: a cycle lasts {length:.4g}, too short in s"
    return 3600.0, f"time taken as hours: a cycle lasts {length:.4g}, too short in s or minutes"


def _charge(record: Samples) -> float:
    """Charge that flows one way, whichever is more, in amperes times the unit of the clock."""
    known = np.isfinite(record["time_s"]) & np.isfinite(record["current_a"])
    time, current = record["time_s"][known], record["current_a"][known]
    return max(float(np.trapezoid(np.clip(sign * current, 0.0, None), time)) for sign in (1.0, -1.0))


def _current(records: list[Samples], said: set[str], nominal_ah: float | None, report: list[str]) -> list[Samples]:
    if "current_a" in said:
        return records
    current = np.abs(known(records, "current_a"))
    largest = float(np.percentile(current, 99)) if current.size else 0.0
    if largest > LARGEST_CELL_A or (nominal_ah is not None and largest > LARGEST_C_RATE * nominal_ah):
        report.append(f"current taken as mA: {largest:.4g} is too much in A")
        return change(records, "current_a", lambda values: values / 1000.0)
    report.append("current taken as A")
    return records


def _sign(records: list[Samples], report: list[str]) -> list[Samples]:
    """Current positive on charge. A cell's voltage is higher while it is charged, and rises with the charge taken."""
    current = known(records, "current_a")
    if not current.size:
        return records
    small = 0.05 * float(np.percentile(np.abs(current), 99))
    both = bool((current > small).any() and (current < -small).any())
    votes = [_vote(record, small) or _trend(record, small) for record in records]
    if sum(votes) < 0:
        report.append("current was positive on discharge (the voltage says so): its sign is turned")
        return change(records, "current_a", np.negative)
    if not both:
        report.append("the current has one sign only; its direction is taken from the voltage's course")
    return records


def _vote(record: Samples, small: float) -> int:
    """+1 where the voltage is higher under positive current, -1 where it is lower, 0 where one sign is missing."""
    voltage, current = record["voltage_v"], record["current_a"]
    usable = np.isfinite(voltage) & np.isfinite(current)
    positive, negative = voltage[usable & (current > small)], voltage[usable & (current < -small)]
    if not positive.size or not negative.size:
        return 0
    return int(np.sign(positive.mean() - negative.mean()))


def _trend(record: Samples, small: float) -> int:
    """+1 where the voltage goes the way of the current, -1 where it goes against it."""
    voltage, current = record["voltage_v"], record["current_a"]
    usable = np.isfinite(voltage) & np.isfinite(current) & (np.abs(current) > small)
    if usable.sum() < 2:
        return 0
    half = int(usable.sum()) // 2
    rise = voltage[usable][-half:].mean() - voltage[usable][:half].mean()
    return int(np.sign(rise) * np.sign(current[usable].mean()))
