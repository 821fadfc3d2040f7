"""Which way the current flows. The product's is positive on charge; files differ, or give no sign at all.

A cell's voltage is higher while it is charged than while it is discharged, rises with the charge taken and falls with
the charge given. That settles the sign of a whole file, and where a file has sizes alone, the direction of each part.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.entries import Entry, Floats, spread
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples

SMALL_SHARE = 0.05  # of the largest current: below it the cell rests
CERTAIN_SHARE = 0.8  # of the records that say anything
SMALLEST_SPAN_V = 0.08  # a record whose voltage moves less says nothing about the direction
FIRST_PART_V = 0.05  # a cold cell charges within a tenth of the span that its discharge has
TURN_SHARE = 0.3  # of the voltage's span: what turns by less is not a change of direction
COARSE_SAMPLES = 400
SMALLEST_PART = 0.15  # of the charge in a record; a load that is reduced lets the voltage rise too, but not for long

WAYS = {"charge": 1.0, "discharge": -1.0}
CHARGE, DISCHARGE = "positive on charge", "positive on discharge"


def directed(entries: Sequence[Entry], records: list[Samples], findings: Findings) -> list[Samples]:
    """The records with current positive on charge. `findings.sign` says what the file's sign was."""
    looked_at = [at for at in spread(len(records)) if _largest(records[at]) > 0]
    small = SMALL_SHARE * float(np.median([_largest(records[at]) for at in looked_at])) if looked_at else 0.0
    if not small > 0:
        findings.sign = findings.sign or CHARGE
        return records
    if not _has_both_signs(records, small):
        return _without_sign(entries, records, small, findings)
    votes = np.array([_against_or_for(entries[at], records[at], small, findings) for at in looked_at])
    against, cast = int((votes < 0).sum()), int((votes != 0).sum())
    if against > cast / 2:
        findings.sign = DISCHARGE
        findings.repaired.append("current was positive on discharge (the voltage says so): its sign is turned")
        records = [record | {"current_a": -record["current_a"]} for record in records]
    else:
        findings.sign = CHARGE
    if cast and max(against, cast - against) < CERTAIN_SHARE * cast:
        findings.assumed.append("the voltage does not follow the current's sign in many records: its sign is uncertain")
    return _single_ones_turned(entries, records, small, findings)


def _single_ones_turned(
    entries: Sequence[Entry], records: list[Samples], small: float, findings: Findings
) -> list[Samples]:
    """The records, those turned whose current flows against what both their kind and their voltage say."""
    against = {
        at
        for at, (entry, record) in enumerate(zip(entries, records, strict=True))
        if (way := WAYS.get(entry.kind or ""))
        and not (way * record["current_a"] > small).any()
        and (way * record["current_a"] < -small).any()
        and _trend(record, small) < 0
    }
    if against:
        findings.repaired.append(f"{len(against)} record(s) whose current has the other sign than the others: turned")
    return [
        record | {"current_a": -record["current_a"]} if at in against else record for at, record in enumerate(records)
    ]


def _largest(record: Samples) -> float:
    current = record["current_a"]
    return float(np.nanmax(np.abs(current))) if np.isfinite(current).any() else 0.0


def _has_both_signs(records: Sequence[Samples], small: float) -> bool:
    positive = negative = False
    for record in records:
        positive = positive or bool((record["current_a"] > small).any())
        negative = negative or bool((record["current_a"] < -small).any())
        if positive and negative:
            return True
    return False


def _without_sign(entries: Sequence[Entry], records: list[Samples], small: float, findings: Findings) -> list[Samples]:
    """Sizes alone: the direction is what the file says elsewhere, else what the voltage's course says."""
    signs: list[NDArray[np.float64] | None] = []
    said = 0
    for entry, record in zip(entries, records, strict=True):
        sign = _said(entry, record)
        said += sign is not None
        signs.append(sign if sign is not None else courses(record["voltage_v"], record["current_a"], small))
    signs = _agreed(signs) if not said else signs
    turned = [
        record if sign is None else record | {"current_a": np.abs(record["current_a"]) * sign}
        for record, sign in zip(records, signs, strict=True)
    ]
    unknown = sum(sign is None and len(record["voltage_v"]) > 0 for sign, record in zip(signs, records, strict=True))
    was_positive = any((record["current_a"] > small).any() for record in records)
    if _has_both_signs(turned, small):
        findings.sign = "unsigned"
        where = "the file says which records are charges" if said == len(records) else "its direction is the voltage's"
        findings.repaired.append(f"the current has no sign in the file: {where}, which rises on charge")
    else:
        falls = any((record["current_a"] < -small).any() for record in turned)
        findings.sign = (DISCHARGE if falls else CHARGE) if was_positive else (CHARGE if falls else DISCHARGE)
        if falls == was_positive:
            findings.repaired.append("current was positive on discharge (the voltage falls): its sign is turned")
    if unknown:
        findings.assumed.append(f"the direction of the current is not known in {unknown} record(s): kept as it is")
    return turned


def _agreed(signs: list[NDArray[np.float64] | None]) -> list[NDArray[np.float64] | None]:
    """One direction for all records where nearly all of them have the same one throughout."""
    ways = [sign[0] if sign is not None and sign.size and (sign == sign[0]).all() else 0.0 for sign in signs]
    for way in (1.0, -1.0):
        if ways.count(way) >= CERTAIN_SHARE * len(ways):
            return [None if sign is None else np.full(sign.size, way) for sign in signs]
    return signs


def _said(entry: Entry, record: Samples) -> NDArray[np.float64] | None:
    """Direction of each sample as the record's kind or its counters of charge say it."""
    if entry.kind in {"charge", "discharge"}:
        return np.full(len(record["current_a"]), 1.0 if entry.kind == "charge" else -1.0)
    charged, discharged = entry.counters.get("charged_ah"), entry.counters.get("discharged_ah")
    if charged is None or discharged is None:
        return None
    sign: NDArray[np.float64] = np.sign(np.nan_to_num(np.gradient(charged) - np.gradient(discharged)))
    return sign


def _against_or_for(entry: Entry, record: Samples, small: float, findings: Findings) -> int:
    """+1 where a record speaks for the sign that its current has, -1 where it speaks against it, 0 where it is silent.

    What a file says of a record goes before its voltage; and where the layout says the sign, it takes all of the
    voltage's course to say otherwise.
    """
    if entry.kind in {"charge", "discharge"}:
        mean = float(np.nansum(record["current_a"]))
        return _sign(mean) * (1 if entry.kind == "charge" else -1)
    vote, trend = _vote(record, small), _trend(record, small)
    if not findings.sign_is_said:
        return vote or trend
    halves = [
        _trend(record | {"current_a": np.clip(record["current_a"], *way)}, small) for way in ((0, None), (None, 0))
    ]
    said = [some for some in (vote, *halves) if some]
    return -1 if said and max(said) < 0 else 1 if said else 0


def _vote(record: Samples, small: float) -> int:
    """+1 where the voltage is higher under positive current, -1 where it is lower, 0 where one sign is missing."""
    voltage, current = record["voltage_v"], record["current_a"]
    usable = np.isfinite(voltage) & np.isfinite(current)
    positive, negative = voltage[usable & (current > small)], voltage[usable & (current < -small)]
    if not positive.size or not negative.size:
        return 0
    return _sign(positive.mean() - negative.mean())


def _trend(record: Samples, small: float) -> int:
    """+1 where the voltage goes the way of the current, -1 where it goes against it."""
    voltage, current = record["voltage_v"], record["current_a"]
    usable = np.isfinite(voltage) & np.isfinite(current) & (np.abs(current) > small)
    if usable.sum() < 2:
        return 0
    half = int(usable.sum()) // 2
    rise = voltage[usable][-half:].mean() - voltage[usable][:half].mean()
    return _sign(rise) * _sign(current[usable].mean())


def _sign(value: float) -> int:
    """-1, 0 or +1; 0 where absurd numbers have left none."""
    return int(np.sign(value)) if np.isfinite(value) else 0


def courses(
    voltage: Floats, current: Floats, small: float, coarse_samples: int = COARSE_SAMPLES
) -> NDArray[np.float64] | None:
    """+1 for each sample (n,) of a rise of the voltage under load, -1 of a fall; None where it hardly moves.

    A change of direction is where the voltage turns by more than `TURN_SHARE` of its span; of the samples in between,
    it is at the largest step, since the voltage jumps when the current is reversed.
    """
    loaded = np.flatnonzero(np.isfinite(voltage) & (np.abs(np.nan_to_num(current)) > small))
    if loaded.size < 4:
        return None
    volts = voltage[loaded]
    low, high = np.percentile(volts, (2, 98))
    if high - low < SMALLEST_SPAN_V:
        return None
    signs = np.ones(voltage.size)
    start = 0
    for turn, direction in turns(volts, TURN_SHARE * (high - low), coarse_samples):
        first, last = loaded[start], loaded[turn - 1] if turn < loaded.size else voltage.size - 1
        signs[first if start else 0 : last + 1] = direction
        start = turn
    flow = np.abs(current[loaded])
    rising = float(flow[signs[loaded] > 0].sum() / flow.sum())
    if min(rising, 1.0 - rising) < SMALLEST_PART:
        signs[:] = 1.0 if rising > 0.5 else -1.0
    return signs


def turns(volts: Floats, threshold: float, coarse_samples: int = COARSE_SAMPLES) -> list[tuple[int, float]]:
    """Where each rise or fall ends (exclusive), and +1 or -1 for it; looked for at so many samples, then in between."""
    stride = max(1, volts.size // coarse_samples)
    coarse = volts[::stride]
    found: list[tuple[int, float]] = []
    lowest = highest = 0
    direction = 0.0
    for at, volt in enumerate(coarse):
        if volt > coarse[highest]:
            highest = at
        if volt < coarse[lowest]:
            lowest = at
        if direction >= 0 and coarse[highest] - volt > threshold:
            turn = _step(volts, highest * stride, at * stride, -1.0)
            if direction > 0 or volts[turn - 1] - volts[0] > FIRST_PART_V:
                found.append((turn, 1.0))
            direction, lowest = -1.0, at
        elif direction <= 0 and volt - coarse[lowest] > threshold:
            turn = _step(volts, lowest * stride, at * stride, 1.0)
            if direction < 0 or volts[0] - volts[turn - 1] > FIRST_PART_V:
                found.append((turn, -1.0))
            direction, highest = 1.0, at
    return [*found, (volts.size, direction or 1.0)]


def _step(volts: Floats, first: int, last: int, direction: float) -> int:
    """Position right after the largest step in a direction between two positions."""
    return first + 1 + int(np.argmax(direction * np.diff(volts[first : last + 1])))
