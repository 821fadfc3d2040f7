"""What the records say about the units of time, current and charge, before any is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.entries import Entry, Floats, spread
from batteries.matfiles.layout import Samples
from batteries.segments import SECONDS_PER_HOUR

AGREES = 1.2  # recorded and integrated charge, either way
LOADED_SHARE = 0.05


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
        recorded=median(recorded[recorded > 0]),
        integrated=median(flows[flows[:, 0] > 0, 0]),
        ratio=ratio,
        half_cycle=median(flows[flows[:, 1] > 0, 1]),
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
    loaded = np.minimum(current[1:], current[:-1]) > LOADED_SHARE * current.max()
    return float(charges[loaded].sum()) / SECONDS_PER_HOUR, float(steps[loaded].sum())


def median(values: Floats) -> float:
    """Median of the finite values, NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
