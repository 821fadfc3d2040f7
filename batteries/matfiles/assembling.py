"""Cycles out of a file's records: units and signs settled, charges put before their discharges, recorded facts kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from batteries.matfiles.directions import SMALL_SHARE, directed
from batteries.matfiles.entries import Entry
from batteries.matfiles.evidence import recorded_charge, recorded_discharge
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples, joined, numbered
from batteries.matfiles.physics import in_celsius, in_volts
from batteries.matfiles.quantities import in_product_units
from batteries.recordings import Cycle

SAMPLES_LOOKED_AT = 1000
LITTLE_BEFORE = 0.1  # of a record's charge: less before the discharge, and the charge comes after it
LARGEST_FALL_V = 1.0  # of the voltage over a cell's resistance: no cell is loaded with more


def cycles_of(entries: Sequence[Entry], nominal_ah: float | None, findings: Findings) -> list[Cycle]:
    """The cycles of a cell, in the product's units and sign; `findings` learn what was assumed and repaired."""
    entries = _by_whole_numbers(entries, findings)
    records = [entry.samples for entry in entries]
    records = in_volts(records, findings)
    records = in_celsius(records, findings)
    records = directed(entries, records, findings)
    _negative_capacities_are_sizes(entries, findings)
    records, charge_factor = in_product_units(entries, records, nominal_ah, findings)
    _resistances_in_ohms(entries, records, findings)
    facts = [_facts(entry, record, charge_factor) for entry, record in zip(entries, records, strict=True)]
    _zeros_are_unknown(facts, findings)
    kinds = [entry.kind or _kind(record) for entry, record in zip(entries, records, strict=True)]
    if any(entry.kind for entry in entries) or _are_halves(kinds):
        return _paired(entries, records, facts, kinds, findings)
    indices = _indices([entry.index for entry in entries], findings)
    _charges_after_discharges(indices, records, findings)
    return [_cycle(*of_cycle) for of_cycle in zip(indices, records, facts, strict=True)]


def _charges_after_discharges(indices: Sequence[int], records: Sequence[Samples], findings: Findings) -> None:
    """Say which records hold the charge after the discharge: it is no charge that the discharge came from."""
    turned = [index for index, record in zip(indices, records, strict=True) if _charged_after(record)]
    if turned:
        findings.assumed.append(
            "cycles in which the charge lies after the discharge, as one record of the file, are kept as they are: "
            + numbered(turned)
        )


def _charged_after(record: Samples) -> bool:
    """Whether a record charges, but hardly before half of its discharge; a look at some of its samples tells."""
    step = 1 + len(record["current_a"]) // SAMPLES_LOOKED_AT
    current = np.nan_to_num(record["current_a"][::step])
    lasting = np.maximum(np.diff(record["time_s"][::step], append=np.nan), 0.0)
    moved = current * np.nan_to_num(lasting) if np.isfinite(lasting).any() else current
    drawn, taken = np.cumsum(np.maximum(-moved, 0.0)), np.cumsum(np.maximum(moved, 0.0))
    if not (current.size and drawn[-1] > 0.0 and taken[-1] > SMALL_SHARE * drawn[-1]):
        return False
    half = int(np.searchsorted(drawn, drawn[-1] / 2.0))
    return bool(taken[half] < LITTLE_BEFORE * taken[-1])


def _by_whole_numbers(entries: Sequence[Entry], findings: Findings) -> Sequence[Entry]:
    """The records without the numbers that they have, where one of them is 1.5: rounded, they would name two cycles."""
    if not any(entry.fractional for entry in entries):
        return entries
    findings.assumed.append("the cycle numbers in the file are not whole, and are not taken for numbers of cycles")
    return [replace(entry, index=None) for entry in entries]


def _indices(recorded: Sequence[int | None], findings: Findings) -> list[int]:
    """The recorded numbers; a cycle without one follows the cycle before it."""
    if all(index is None for index in recorded):
        findings.assumed.append("cycles without a number of their own are numbered by their place, from 1")
    elif None in recorded:
        count = list(recorded).count(None)
        findings.assumed.append(f"{count} cycle(s) without a number of their own are counted on from the one before")
    indices: list[int] = []
    for index in recorded:
        indices.append(index if index is not None else indices[-1] + 1 if indices else 1)
    return indices


Facts = dict[str, float | None]


def _cycle(index: int, samples: Samples, facts: Facts) -> Cycle:
    columns: dict[str, Any] = {**samples, **facts}
    return Cycle(index=index, **columns)


def _facts(entry: Entry, record: Samples, charge_factor: float) -> Facts:
    """What the file says about a cycle, in Ah and ohm."""
    discharged = recorded_discharge(entry, record) * charge_factor
    charged = recorded_charge(entry, record) * charge_factor
    return {
        "recorded_capacity_ah": float(discharged) if np.isfinite(discharged) else None,
        "recorded_charge_ah": float(charged) if np.isfinite(charged) else None,
        "recorded_resistance_ohm": entry.scalars.get("resistance_ohm"),
    }


def _negative_capacities_are_sizes(entries: Sequence[Entry], findings: Findings) -> None:
    """Turn the sign of capacities where a file gives discharges a negative one throughout."""
    names = ("discharged_ah", "capacity_ah")
    known = [entry.scalars[name] for entry in entries for name in names if name in entry.scalars]
    if not any(known) or max(known) > 0:
        return
    for entry in entries:
        entry.scalars.update({name: abs(entry.scalars[name]) for name in names if name in entry.scalars})
    findings.repaired.append("the capacities in the file are negative: their sign is turned")


def _resistances_in_ohms(entries: Sequence[Entry], records: Sequence[Samples], findings: Findings) -> None:
    """Turn resistances of no said unit into ohm where as many ohm would take more voltage than a cell has to lose."""
    if "resistance_ohm" not in findings.origins or "resistance_ohm" in findings.said:
        return
    known = [(entry.scalars, record) for entry, record in zip(entries, records, strict=True)
             if entry.scalars.get("resistance_ohm", 0.0) > 0]  # fmt: skip
    falls = [facts["resistance_ohm"] * np.nan_to_num(np.abs(record["current_a"])).max(initial=0.0)
             for facts, record in known]  # fmt: skip
    fall_v = float(np.median(falls)) if falls else 0.0
    if fall_v <= LARGEST_FALL_V:
        findings.assumed.append("resistance taken as Ω")
        return
    for facts, _ in known:
        facts["resistance_ohm"] /= 1000.0
    why = f"resistance taken as mΩ: in Ω the voltage would fall by {fall_v:.4g} V under load"
    findings.read_in("resistance_ohm", "mΩ", why)


def _zeros_are_unknown(facts: list[Facts], findings: Findings) -> None:
    known = [some["recorded_capacity_ah"] for some in facts if some["recorded_capacity_ah"] is not None]
    if known and not any(known):
        for some in facts:
            some["recorded_capacity_ah"] = None
        findings.repaired.append("the capacities in the file are all zero: unknown")


def _kind(record: Samples) -> str | None:
    """'charge' or 'discharge' where current flows one way only; None where it flows both ways or not at all."""
    charged, discharged = directions(record)
    return "charge" if charged and not discharged else "discharge" if discharged and not charged else None


def directions(record: Samples) -> tuple[bool, bool]:
    """Whether the cell is charged, and whether it is discharged."""
    current = record["current_a"]
    if not np.isfinite(current).any():
        return False, False
    small = SMALL_SHARE * float(np.nanmax(np.abs(current)))
    return bool((current > small).any()), bool((current < -small).any())


def _are_halves(kinds: Sequence[str | None]) -> bool:
    """Whether the records are charges and discharges, none of them both; empty records are neither."""
    return {"charge", "discharge"} <= set(kinds) and kinds.count(None) <= 0.1 * len(kinds)


def _paired(
    entries: Sequence[Entry], records: Sequence[Samples], facts: Sequence[Facts], kinds: Sequence[str | None],
    findings: Findings,
) -> list[Cycle]:  # fmt: skip
    """A discharge with the charge right before it. It keeps its number, or is counted where records have none."""
    counted = all(entry.index is None for entry in entries)
    passed_over: list[int] = []
    alone: list[int] = []
    untimed: list[int] = []
    charges: list[int] = []
    found: list[tuple[int, list[Samples], Facts]] = []
    count = 0
    rests = 0
    for at, (entry, kind) in enumerate(zip(entries, kinds, strict=True)):
        if kind == "charge":
            charges.append(at)
            continue
        if kind is None and not any(directions(records[at])):
            rests += 1
            continue
        count += 1
        index = count if entry.index is None else entry.index
        if len(charges) > 1:
            passed_over.append(index)
        if not charges:
            alone.append(index)
            found.append((index, [records[at]], facts[at]))
            continue
        offset_s, timed = _offset_s(entries[charges[-1]], records[charges[-1]], entry)
        if not timed:
            untimed.append(index)
        shifted = records[at] | {"time_s": records[at]["time_s"] + offset_s}
        found.append((index, [records[charges[-1]], shifted], facts[at]))
        charges = []
    findings.remarks.append(
        "charges and discharges are records of their own: a cycle is a discharge with the charge before it"
        + ("; cycles are counted by their discharges, from 1" if counted else "")
    )
    if rests:
        findings.left_out.append(f"{rests} record(s) without current left out")
    _tell(passed_over, alone, untimed, len(charges), findings)
    samples = joined([parts for _, parts, _ in found])
    return [_cycle(index, columns, known) for (index, _, known), columns in zip(found, samples, strict=True)]


def _offset_s(charge: Entry, charged: Samples, discharge: Entry) -> tuple[float, bool]:
    """When the discharge began after the charge, and whether the dates say so; else right at its end."""
    ended_s = float(np.nanmax(charged["time_s"], initial=0.0))
    if discharge.started is None or charge.started is None:
        return ended_s, discharge.started is None and charge.started is None
    later_s = (discharge.started - charge.started).total_seconds()
    return (later_s, True) if later_s >= ended_s else (ended_s, False)


def _tell(passed_over: list[int], alone: list[int], untimed: list[int], trailing: int, findings: Findings) -> None:
    if passed_over:
        findings.left_out.append(
            f"cycles with several charges before the discharge, of which the last is kept: {numbered(passed_over)}"
        )
    if alone:
        findings.missing.append(f"cycles without a charge before the discharge: {numbered(alone)}")
    if untimed:
        findings.assumed.append(
            f"cycles whose dates overlap; the discharge is placed right after the charge: {numbered(untimed)}"
        )
    if trailing:
        findings.left_out.append(f"{trailing} charge(s) after the last discharge left out")


def gaps(cycles: Sequence[Cycle], findings: Findings) -> None:
    """Say what is missing in the finished cycles."""
    unknown = [cycle.index for cycle in cycles if not cycle.recorded_capacity_ah]
    if unknown and len(unknown) < len(cycles):
        findings.missing.append(f"cycles without a recorded capacity: {numbered(unknown)}")
    elif unknown:
        findings.missing.append("no recorded capacities in the file")
    holes = [c.index for c in cycles if np.isnan(c.voltage_v.sum()) or np.isnan(c.current_a.sum())]
    if holes:
        findings.missing.append(f"cycles with samples that the file holds as NaN, kept as NaN: {numbered(holes)}")
    empty = [cycle.index for cycle in cycles if not len(cycle)]
    if empty:
        findings.missing.append(f"cycles without samples: {numbered(empty)}")
