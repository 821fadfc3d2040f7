"""Units of time, current and charge where a file does not say them, judged together: charge = ∫ current · time.

A recorded capacity against the integral of the current settles them to a factor; the rest is what cells can do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from batteries.matfiles.clocks import counts_days, durations, relative, steps_are_minutes
from batteries.matfiles.entries import Entry, spread
from batteries.matfiles.evidence import AGREES, Evidence, evidence, median
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples
from batteries.matfiles.physics import change
from batteries.matfiles.units import Unit

TIMES = (Unit("s"), Unit("min", 60.0), Unit("h", 3600.0), Unit("ms", 1e-3), Unit("days", 86_400.0))
CURRENTS = (Unit("A"), Unit("mA", 1e-3))
CHARGES = (Unit("Ah"), Unit("mAh", 1e-3), Unit("As", 1.0 / 3600.0))
DISCHARGES = ("discharged_ah", "capacity_ah", "charge_ah")  # columns that tell the charge of a discharge
NAMES = {"s": "s", "min": "minutes", "h": "hours", "ms": "ms", "days": "days"}

C_RATE_AGREES = 0.02
SAID_AGREES = 1.08  # where a unit that is said is overruled
LARGEST_CELL_A = 500.0
LARGEST_MV_CELL_A = 100.0  # where the voltage is in mV, a larger current will be in mA
LARGEST_CELL_AH = 500.0
LARGEST_C_RATE = 100.0
PLAUSIBLE = (0.15, 1.5)  # charge of a cycle / nominal capacity
FASTEST_S = 100.0  # a half cycle at 36C
SLOWEST_S = 4 * 86_400.0  # at C/96
SURELY_TOO_SHORT_S = 300.0  # a whole cycle in s: 24C both ways
SHORTEST_CYCLE_S = 1200.0
SHORTEST_CYCLE_MIN = 25.0


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


def _chosen(
    found: Evidence, nominal_ah: float | None, timed: Sequence[Samples], findings: Findings
) -> tuple[Unit, Unit, Unit]:
    """Units of time, current and charge; the findings say why."""
    options = Options.of(findings)
    if not found.timed:
        return _current_alone(found, nominal_ah, options, findings)
    if np.isfinite(found.ratio):
        agreeing = [units for units in options.by_cost() if _fits(found, units, options, nominal_ah, findings)]
        if agreeing:
            return _by_capacity(agreeing[0], found, nominal_ah, options, findings)
        findings.assumed.append(
            f"the recorded capacities are {found.ratio:.3g} times the integral of the current in the units taken"
        )
    if nominal_ah:
        times, currents = options.times[: 1 if options.said[0] else 3], options.currents[: 1 if options.said[1] else 2]
        fitting = [
            (time, current)
            for time, current in product(times, currents)
            if PLAUSIBLE[0] <= found.integrated * time.factor * current.factor / nominal_ah <= PLAUSIBLE[1]
            and found.largest_current * current.factor <= LARGEST_C_RATE * nominal_ah
        ]
        if fitting:
            chosen = (*min(fitting, key=lambda units: sum(unit.factor != 1.0 for unit in units)), options.charges[0])
            _tell(chosen, options, "the charge that flows then fits the nominal capacity", findings)
            return chosen
    time, current, charge = _current_alone(found, nominal_ah, options, findings)
    return (time if options.said[0] else _by_length(timed, findings)), current, charge


@dataclass(frozen=True)
class Options:
    """The units that each quantity may be in, the one that is said (or the product's) first with factor 1."""

    times: tuple[Unit, ...]
    currents: tuple[Unit, ...]
    charges: tuple[Unit, ...]
    said: tuple[bool, bool, bool]

    @classmethod
    def of(cls, findings: Findings) -> "Options":
        """As the names and the layout leave them open."""
        charge = next((name for name in DISCHARGES if name in findings.origins), None)
        return cls(
            times=_relative(TIMES, "time_s", findings),
            currents=_relative(CURRENTS, "current_a", findings),
            charges=_relative(CHARGES, charge, findings),
            said=(
                "time_s" in findings.said,
                "current_a" in findings.said,
                charge is None or charge in findings.said,
            ),
        )

    def by_cost(self) -> list[tuple[Unit, Unit, Unit]]:
        """All combinations, the likeliest first: a unit that is said is left alone unless nothing else fits."""

        def cost(units: tuple[Unit, Unit, Unit]) -> int:
            changes = [unit.factor != 1.0 for unit in units]
            in_milli = changes[1] and units[1].symbol == "mA" and units[2].symbol == "mAh"  # they go together
            return (
                sum((10 if known else 1) * changed for known, changed in zip(self.said, changes, strict=True))
                - in_milli
            )

        return sorted(product(self.times, self.currents, self.charges), key=cost)


def _relative(units: tuple[Unit, ...], column: str | None, findings: Findings) -> tuple[Unit, ...]:
    """Units as factors to what the column's values are by now, in the unit that is said for them."""
    symbol = findings.origins[column].unit if column in findings.said and column in findings.origins else ""
    said = next((unit for unit in units if unit.symbol == symbol), units[0])
    usual = units[:3] if symbol else units  # nobody says s and means ms
    others = [Unit(unit.symbol, unit.factor / said.factor) for unit in usual if unit != said]
    return (Unit(said.symbol), *others)


def _by_capacity(
    chosen: tuple[Unit, Unit, Unit], found: Evidence, nominal_ah: float | None, options: Options, findings: Findings
) -> tuple[Unit, Unit, Unit]:
    """The units in which the recorded capacities are the integrals of the current; a current may be in C-rates."""
    if all(unit.factor == 1.0 for unit in chosen) and nominal_ah and _is_c_rate(found, nominal_ah):
        why = "current taken as C-rate: the recorded charge is the nominal capacity times its integral"
        findings.read_in("current_a", "C", why)
        return chosen[0], Unit("C", nominal_ah), chosen[2]
    _tell(chosen, options, "the recorded capacity then is the integral of the current", findings)
    if nominal_ah is None and chosen[1].factor == 1.0 and not options.said[1] and not options.said[2]:
        findings.assumed.append("current and capacity may as well be in mA and mAh: nothing in the file tells")
    return chosen


def _fits(
    found: Evidence, units: tuple[Unit, Unit, Unit], options: Options, nominal_ah: float | None, findings: Findings
) -> bool:
    """Whether the recorded capacities agree with the integral of the current in those units, and a cell can have them.

    Units that are said are overruled one at a time, and only by close agreement: recorded capacities may just be wrong.
    """
    changed = [unit.factor != 1.0 for unit in units]
    if not any(changed):
        return _agrees(found, units, AGREES) and (all(options.said) or _can_bear(found, units, nominal_ah, findings))
    overruled = any(known and change for known, change in zip(options.said, changed, strict=True))
    if (overruled and sum(changed) > 1) or (changed[1] and units[2].symbol == "As"):
        return False
    return _agrees(found, units, SAID_AGREES if overruled else AGREES) and _can_be(found, units, nominal_ah, findings)


def _agrees(found: Evidence, units: tuple[Unit, Unit, Unit], within: float) -> bool:
    time, current, charge = units
    return bool(abs(np.log(found.ratio * charge.factor / (time.factor * current.factor))) < np.log(within))


def _can_be(found: Evidence, units: tuple[Unit, Unit, Unit], nominal_ah: float | None, findings: Findings) -> bool:
    """Whether a cell can have that capacity, current and duration."""
    if nominal_ah and not 0.01 * nominal_ah <= found.recorded * units[2].factor <= PLAUSIBLE[1] * nominal_ah:
        return False
    in_time = FASTEST_S <= found.half_cycle * units[0].factor <= SLOWEST_S
    return in_time and _can_bear(found, units, nominal_ah, findings)


def _can_bear(found: Evidence, units: tuple[Unit, Unit, Unit], nominal_ah: float | None, findings: Findings) -> bool:
    """Whether there are cells of that capacity and for that current."""
    capacity, largest = found.recorded * units[2].factor, found.largest_current * units[1].factor
    return capacity <= LARGEST_CELL_AH and largest <= _largest_a(nominal_ah, findings)


def _largest_a(nominal_ah: float | None, findings: Findings) -> float:
    if nominal_ah:
        return LARGEST_C_RATE * nominal_ah
    voltage = findings.origins.get("voltage_v")
    return LARGEST_MV_CELL_A if voltage and voltage.unit == "mV" else LARGEST_CELL_A


def _is_c_rate(found: Evidence, nominal_ah: float) -> bool:
    """Whether the current is in multiples of the nominal capacity an hour: only told where the two differ clearly."""
    return abs(found.ratio / nominal_ah - 1.0) < C_RATE_AGREES < abs(found.ratio - 1.0) / 2.0


def _current_alone(
    found: Evidence, nominal_ah: float | None, options: Options, findings: Findings
) -> tuple[Unit, Unit, Unit]:
    """A current that no cell bears in A is in mA, and its charges in mAh."""
    current, charge = options.currents[0], options.charges[0]
    if options.said[1]:
        pass
    elif found.largest_current > _largest_a(nominal_ah, findings):
        current = CURRENTS[1]
        findings.read_in("current_a", "mA", f"current taken as mA: {found.largest_current:.4g} is too much in A")
    else:
        findings.assumed.append("current taken as A")
    largest_ah = PLAUSIBLE[1] * nominal_ah * 10 if nominal_ah else LARGEST_CELL_AH
    if not options.said[2] and found.recorded > largest_ah:
        charge = CHARGES[1]
        _charge_read_in("mAh", f"capacity taken as mAh: {found.recorded:.4g} is too much in Ah", findings)
    return options.times[0], current, charge


def _tell(units: tuple[Unit, Unit, Unit], options: Options, why: str, findings: Findings) -> None:
    """A sentence for each unit that the file does not say, or says wrongly."""
    words = (("time_s", "time"), ("current_a", "current"), ("capacity_ah", "capacity"))
    for (column, word), unit, said in zip(words, units, options.said, strict=True):
        sentence = f"{word} taken as {NAMES.get(unit.symbol, unit.symbol)}: {why}"
        if unit.factor == 1.0:
            if not said:
                findings.assumed.append(sentence)
        elif column == "capacity_ah":
            _charge_read_in(unit.symbol, sentence, findings)
        else:
            findings.read_in(column, unit.symbol, sentence)


def _charge_read_in(symbol: str, why: str, findings: Findings) -> None:
    column = next((name for name in DISCHARGES if name in findings.origins), "capacity_ah")
    findings.read_in(column, symbol, why)


def _by_length(timed: Sequence[Samples], findings: Findings) -> Unit:
    """The clock's unit from how long a cycle lasts and how it is sampled; s where that does not tell."""
    lengths = durations([timed[at] for at in spread(len(timed))])
    length = median(lengths[lengths > 0])
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
