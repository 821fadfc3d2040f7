"""Clocks: seconds (or whatever a file counts in) from each cycle's first sample on."""

from collections.abc import Sequence

import numpy as np

from batteries.matfiles.entries import Floats, spread
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Samples

DATENUMS = (600_000.0, 900_000.0)  # MATLAB's day numbers of the years 1643 to 2464


def relative(records: Sequence[Samples], findings: Findings) -> list[Samples]:
    """The records on clocks that begin at 0; one that starts anew within a record goes on instead."""
    restarted = 0
    timed: list[Samples] = []
    for record in records:
        time, restarts = continuous(record["time_s"])
        restarted += restarts > 0
        timed.append(record if time is record["time_s"] else record | {"time_s": time})
    if restarted:
        findings.repaired.append(
            f"{restarted} cycles whose clock starts anew within the cycle; it goes on there instead"
        )
    return timed


def continuous(time: Floats) -> tuple[Floats, int]:
    """Time from the first known sample on, and how often it went back."""
    if time.size and time[0] == 0.0 and (time[1:] >= time[:-1]).all():
        return time, 0
    finite = np.flatnonzero(np.isfinite(time))
    if not finite.size:
        return time, 0
    steps = np.diff(time[finite])
    back = steps < 0
    relative = np.full(time.shape, np.nan)
    relative[finite] = np.append(0.0, np.cumsum(np.where(back, 0.0, steps)))
    return relative, int(back.sum())


def counts_days(records: Sequence[Samples]) -> bool:
    """Whether the clock shows MATLAB's day numbers."""
    first = [record["time_s"][:1] for record in (records[at] for at in spread(len(records)))]
    known = np.concatenate(first) if first else np.empty(0)
    known = known[np.isfinite(known)]
    return bool(known.size and DATENUMS[0] <= float(np.median(known)) <= DATENUMS[1])


def durations(records: Sequence[Samples]) -> Floats:
    """How long each record lasts, NaN where it has no time; clocks begin at 0."""
    return np.array(
        [np.nanmax(time) if np.isfinite(time := record["time_s"]).any() else np.nan for record in records], dtype=float
    )


def steps_are_minutes(records: Sequence[Samples]) -> bool:
    """Whether a clock in minutes is told by its steps: whole seconds by the minute, and no whole milliseconds else.

    A clock in minutes of a record sampled every second or ten steps by 1/60 or 1/6; nobody samples every 0.1667 s.
    """
    steps = [np.diff(record["time_s"]) for record in (records[at] for at in spread(len(records), 10))]
    known = np.concatenate(steps) if steps else np.empty(0)
    known = known[np.isfinite(known) & (known > 0)]
    if known.size < 10 or np.median(known) >= 1.0:
        return False
    return _mostly_whole(known * 60.0) and not _mostly_whole(known * 1000.0)


def _mostly_whole(values: Floats) -> bool:
    return bool(np.mean(np.abs(values - np.round(values)) < 0.02) > 0.9 and np.median(values) > 0.5)
