"""Units of time, current and charge where a file does not say them, judged together: charge = ∫ current · time.

A recorded capacity against the integral of the current settles them to a factor; the rest is what cells can do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.clocks import counts_days, durations, relative, steps_are_minutes
from batteries.matfiles.entries import Entry, Floats, spread
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples
from batteries.matfiles.physics import change
from batteries.matfiles.units import Unit

SECONDS_PER_HOUR = 3600.0
TIMES = (Unit("s"), Unit("min", 60.0), Unit("h", 3600.0), Unit("ms", 1e-3), Unit("days", 86_400.0))
CURRENTS = (Unit("A"), Unit("mA", 1e-3))
CHARGES = (Unit("Ah"), Unit("mAh", 1e-3), Unit("As", 1.0 / SECONDS_PER_HOUR))
NAMES = {"s": "s", "min": "minutes", "h": "hours", "ms": "ms", "days": "days"}

AGREES = 1.2  # recorded and integrated charge, either way
C_RATE_AGREES = 0.02
LARGEST_CELL_A = 500.0
LARGEST_MV_CELL_A = 20.0  # where the voltage is in mV, so will the current be
LARGEST_CELL_AH = 500.0
LARGEST_C_RATE = 100.0
PLAUSIBLE = (0.15, 1.5)  # charge of a cycle / nominal capacity
FASTEST_S = 100.0  # a half cycle at 36C
SLOWEST_S = 60 * 86_400.0
SURELY_TOO_SHORT_S = 300.0  # a whole cycle in s: 24C both ways
SHORTEST_CYCLE_S = 1200.0
SHORTEST_CYCLE_MIN = 25.0


@dataclass(frozen=True)
class Evidence:
    """What the records say about units, before any is chosen; medians over the file, NaN where unknown."""

    recorded: float  # charge of a discharge as the file says it
    integrated: float  # ∫ current dt of it / 3600, in A·(unit of the clock)/s
    ratio: float  # recorded / integrated, where it hardly differs between the records; else NaN
    half_cycle: float  # how long the current flows one way, in the clock's unit
    largest_current: float

    @property
    def timed(self) -> bool:
        """Whether there is a clock and a current."""
        return bool(np.isfinite(self.integrated))


def in_product_units(
    entries: Sequence[Entry], records: list[Samples], nominal_ah: float | None, findings: Findings
) -> tuple[list[Samples], float]:
    """The records in A and s, on clocks from 0, and what one of the recorded charges is in Ah."""
    days = counts_days(records)
    timed = relative(records, findings)
    found = evidence(entries, timed)
    if not np.isfinite(durations([timed[at] for at in spread(len(timed))])).any():
        findings.missing.append("no time in the file: charges, durations and the early discharge cannot be known")
        findings.origins.pop("time_s", None)
    if days and "time_s" not in findings.said:
        findings.said.add("time_s")
        findings.read_in("time_s", "days", "time taken as MATLAB day numbers")
        timed = change(timed, "time_s", lambda values: values * 86_400.0)
        found = evidence(entries, timed)
    time, current, charge = _chosen(found, nominal_ah, timed, findings)
    if time.factor != 1.0:
        timed = change(timed, "time_s", lambda values: values * time.factor)
    if current.factor != 1.0:
        timed = change(timed, "current_a", lambda values: values * current.factor)
    return timed, charge.factor


def evidence(entries: Sequence[Entry], records: Sequence[Samples]) -> Evidence:
    """Medians over records spread over the file."""
    at_hand = [(entries[at], records[at]) for at in spread(len(records))]
    drawn = np.array([_flow(record, -1.0) for _, record in at_hand], dtype=float).reshape(-1, 2)
    taken = np.array([_flow(record, 1.0) for _, record in at_hand], dtype=float).reshape(-1, 2)
    discharges = drawn[:, 0] > 0
    flows = drawn if discharges.any() else taken
    recorded = np.array([recorded_discharge(entry, record) for entry, record in at_hand], dtype=float)
    with np.errstate(all="ignore"):
        ratios = recorded / drawn[:, 0]
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    ratio = float(np.median(ratios)) if ratios.size else np.nan
    if ratios.size and np.mean(np.abs(np.log(ratios / ratio)) < np.log(AGREES)) < 0.6:
        ratio = np.nan
    current = [np.abs(record["current_a"]) for _, record in at_hand]
    known = np.concatenate(current) if current else np.empty(0)
    known = known[np.isfinite(known)]
    return Evidence(
        recorded=_median(recorded[recorded > 0]),
        integrated=_median(flows[flows[:, 0] > 0, 0]),
        ratio=ratio,
        half_cycle=_median(flows[flows[:, 1] > 0, 1]),
        largest_current=float(np.percentile(known, 99)) if known.size else np.nan,
    )


def recorded_discharge(entry: Entry, record: Samples) -> float:
    """The charge of a discharge as the file says it, in its unit; NaN where it does not.

    A number of the record, or what a counter moved by under load.
    """
    for name in ("discharged_ah", "capacity_ah"):
        if name in entry.scalars:
            return entry.scalars[name]
    for name in ("discharged_ah", "capacity_ah", "charge_ah"):
        if name in entry.counters:
            return gained(entry.counters[name], record["current_a"] < 0)
    return np.nan


def recorded_charge(entry: Entry, record: Samples) -> float:
    """The charge that a cycle took as the file says it, in its unit; NaN where it does not."""
    if "charged_ah" in entry.scalars:
        return entry.scalars["charged_ah"]
    if "charged_ah" in entry.counters:
        return gained(entry.counters["charged_ah"], record["current_a"] > 0)
    return np.nan


def gained(counter: Floats, flowing: NDArray[np.bool_]) -> float:
    """By how much a counter moves while a current flows; one that starts anew within goes on."""
    values = counter[flowing & np.isfinite(counter)]
    if values.size < 2:
        return np.nan
    steps = np.diff(values)
    if values[-1] < values[0] and (steps <= 0).mean() > 0.9:  # counts down
        steps = -steps
    return float(np.sum(steps[steps > 0])) or np.nan


def _flow(record: Samples, sign: float) -> tuple[float, float]:
    """Charge (in A·unit of the clock / 3600) and duration of the flow in one direction."""
    known = np.isfinite(record["time_s"]) & np.isfinite(record["current_a"])
    time, current = record["time_s"][known], np.clip(sign * record["current_a"][known], 0.0, None)
    if time.size < 2:
        return np.nan, np.nan
    steps = np.diff(time)
    charges = (current[1:] + current[:-1]) / 2.0 * steps
    loaded = np.minimum(current[1:], current[:-1]) > 0.05 * current.max()
    return float(charges[loaded].sum()) / SECONDS_PER_HOUR, float(steps[loaded].sum())


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _chosen(
    found: Evidence, nominal_ah: float | None, timed: Sequence[Samples], findings: Findings
) -> tuple[Unit, Unit, Unit]:
    """Units of time, current and charge; the findings say why."""
    default = (TIMES[0], CURRENTS[0], CHARGES[0])
    said = ("time_s" in findings.said, "current_a" in findings.said, _charge_is_said(findings))
    if not found.timed:
        return _current_alone(found, nominal_ah, said, findings)
    agreeing = [
        units
        for units in _by_cost(said, default)
        if _agrees(found, units) and _can_be(found, units, nominal_ah, findings)
    ]
    if np.isfinite(found.ratio) and all(said) and _agrees(found, default):
        agreeing = [default]
    if np.isfinite(found.ratio) and agreeing:
        chosen = agreeing[0]
        if chosen == default and nominal_ah and _is_c_rate(found, nominal_ah):
            findings.read_in(
                "current_a",
                "C",
                "current taken as C-rate: the recorded charge is the nominal capacity times its integral",
            )
            return default[0], Unit("C", nominal_ah), default[2]
        _tell(chosen, said, "the recorded capacity then is the integral of the current", findings)
        return chosen
    if np.isfinite(found.ratio):
        findings.assumed.append(
            f"the recorded capacities are {found.ratio:.3g} times the integral of the current in the units taken"
        )
    if nominal_ah:
        fitting = [
            units
            for units in product(TIMES[:1] if said[0] else TIMES[:3], CURRENTS[:1] if said[1] else CURRENTS)
            if PLAUSIBLE[0] <= found.integrated * units[0].factor * units[1].factor / nominal_ah <= PLAUSIBLE[1]
            and found.largest_current * units[1].factor <= LARGEST_C_RATE * nominal_ah
        ]
        if fitting:
            chosen = (*min(fitting, key=lambda units: sum(unit.factor != 1.0 for unit in units)), default[2])
            _tell(chosen, said, "the charge that flows then fits the nominal capacity", findings)
            return chosen
    _, current, charge = _current_alone(found, nominal_ah, said, findings)
    return (default[0] if said[0] else _by_length(timed, findings)), current, charge


def _charge_is_said(findings: Findings) -> bool:
    names = ("capacity_ah", "discharged_ah", "charge_ah")
    return any(name in findings.said for name in names) or not any(name in findings.origins for name in names)


def _by_cost(said: tuple[bool, bool, bool], default: tuple[Unit, Unit, Unit]) -> list[tuple[Unit, Unit, Unit]]:
    """All combinations of units, the likeliest first: a unit that is said is left alone unless nothing else fits."""

    def cost(units: tuple[Unit, Unit, Unit]) -> int:
        changes = [unit != usual for unit, usual in zip(units, default, strict=True)]
        in_milli = changes[1] and units[2].symbol == "mAh"  # mA and mAh go together
        return sum((10 if known else 1) * changed for known, changed in zip(said, changes, strict=True)) - in_milli

    return sorted(product(TIMES, CURRENTS, CHARGES), key=cost)


def _agrees(found: Evidence, units: tuple[Unit, Unit, Unit]) -> bool:
    time, current, charge = units
    return bool(abs(np.log(found.ratio * charge.factor / (time.factor * current.factor))) < np.log(AGREES))


def _can_be(found: Evidence, units: tuple[Unit, Unit, Unit], nominal_ah: float | None, findings: Findings) -> bool:
    """Whether a cell can have that capacity, current and duration."""
    time, current, charge = units
    capacity, largest = found.recorded * charge.factor, found.largest_current * current.factor
    if nominal_ah and not 0.01 * nominal_ah <= capacity <= PLAUSIBLE[1] * nominal_ah:
        return False
    if capacity > LARGEST_CELL_AH or largest > _largest_a(nominal_ah, findings):
        return False
    return FASTEST_S <= found.half_cycle * time.factor <= SLOWEST_S


def _largest_a(nominal_ah: float | None, findings: Findings) -> float:
    if nominal_ah:
        return LARGEST_C_RATE * nominal_ah
    voltage = findings.origins.get("voltage_v")
    return LARGEST_MV_CELL_A if voltage and voltage.unit == "mV" else LARGEST_CELL_A


def _is_c_rate(found: Evidence, nominal_ah: float) -> bool:
    """Whether the current is in multiples of the nominal capacity an hour: only told where the two differ clearly."""
    return abs(found.ratio / nominal_ah - 1.0) < C_RATE_AGREES < abs(found.ratio - 1.0) / 2.0


def _current_alone(
    found: Evidence, nominal_ah: float | None, said: tuple[bool, bool, bool], findings: Findings
) -> tuple[Unit, Unit, Unit]:
    """A current that no cell bears in A is in mA, and its charges in mAh."""
    too_much = found.largest_current > _largest_a(nominal_ah, findings)
    current = CURRENTS[1] if too_much and not said[1] else CURRENTS[0]
    too_large = found.recorded > (PLAUSIBLE[1] * nominal_ah * 10 if nominal_ah else LARGEST_CELL_AH)
    charge = CHARGES[1] if too_large and not said[2] else CHARGES[0]
    if current.factor != 1.0:
        findings.read_in("current_a", "mA", f"current taken as mA: {found.largest_current:.4g} is too much in A")
    elif not said[1]:
        findings.assumed.append("current taken as A")
    if charge.factor != 1.0:
        _charge_read_in("mAh", f"capacity taken as mAh: {found.recorded:.4g} is too much in Ah", findings)
    return TIMES[0], current, charge


def _tell(units: tuple[Unit, Unit, Unit], said: tuple[bool, bool, bool], why: str, findings: Findings) -> None:
    """A sentence for each unit that the file does not say, or says wrongly."""
    time, current, charge = units
    for column, unit, known, word in (
        ("time_s", time, said[0], "time"),
        ("current_a", current, said[1], "current"),
        ("capacity_ah", charge, said[2], "capacity"),
    ):
        sentence = f"{word} taken as {NAMES.get(unit.symbol, unit.symbol)}: {why}"
        if unit.factor == 1.0:
            if not known:
                findings.assumed.append(sentence)
        elif column == "capacity_ah":
            _charge_read_in(unit.symbol, sentence, findings)
        else:
            findings.read_in(column, unit.symbol, sentence)


def _charge_read_in(symbol: str, why: str, findings: Findings) -> None:
    names = [name for name in ("capacity_ah", "discharged_ah", "charged_ah", "charge_ah") if name in findings.origins]
    findings.read_in(names[0] if names else "capacity_ah", symbol, why)


def _by_length(timed: Sequence[Samples], findings: Findings) -> Unit:
    """The clock's unit from how long a cycle lasts and how it is sampled; s where that does not tell."""
    lengths = durations([timed[at] for at in spread(len(timed))])
    length = _median(lengths[lengths > 0])
    if length >= SURELY_TOO_SHORT_S and steps_are_minutes(timed):
        findings.read_in("time_s", "min", "time taken as minutes: its steps are whole seconds then")
        return TIMES[1]
    if not np.isfinite(length) or length >= SHORTEST_CYCLE_S:
        findings.assumed.append("time taken as s")
        return TIMES[0]
    if length >= SURELY_TOO_SHORT_S:
        findings.assumed.append(
            f"time taken as s although a cycle then lasts {length:.4g} s only; it may be minutes: nothing tells"
        )
        return TIMES[0]
    if length >= SHORTEST_CYCLE_MIN:
        findings.read_in("time_s", "min", f"time taken as minutes: a cycle lasts {length:.4g}, too short in s")
        return TIMES[1]
    findings.read_in("time_s", "h", f"time taken as hours: a cycle lasts {length:.4g}, too short in s or minutes")
    return TIMES[2]
