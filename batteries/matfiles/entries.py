"""One record of a file, with its columns under the product's names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.layout import Samples
from batteries.matfiles.tree import Cells, Node, Numbers, Text, numbers
from batteries.matfiles.units import Unit, converted
from batteries.recordings import SAMPLE_COLUMNS

Floats = NDArray[np.float64]
Record = Mapping[str, Node]

COUNTERS = ("capacity_ah", "discharged_ah", "charged_ah", "charge_ah")
NOTHING = np.empty(0)
LARGEST_INDEX = 2**31 - 1
WHOLE_WITHIN = 1e-3  # single precision and sums of tenths are that exact
DATE_LENGTH = 6


@dataclass(frozen=True)
class Source:
    """Where a column comes from: a field of the record, and its unit where that is known."""

    name: str
    unit: Unit | None = None


@dataclass(frozen=True)
class Entry:
    """One record as the file has it, in the units that are said. A cycle, or the charge or discharge of one."""

    index: int | None  # its own number, where it has a whole one
    samples: Samples  # of one length, which may be 0; what is not there is NaN
    counters: Samples = field(default_factory=dict)  # of that length too
    scalars: dict[str, float] = field(default_factory=dict)  # one number a record: capacities, resistance
    unequal: tuple[str, ...] = ()  # columns of another length, which are unknown
    nothing: str = ""  # why there are no samples although there are numbers, where that is known
    kind: str | None = None  # 'charge' or 'discharge' where the file says so
    started: datetime | None = None
    fractional: bool = False  # whether its own number is none of a cycle: 1.5

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.samples["voltage_v"])


def read_columns(record: Record, sources: Mapping[str, Source]) -> dict[str, Floats]:
    """The columns that a record has, converted; matrices and what is not numeric are not there."""
    found: dict[str, Floats] = {}
    for column, source in sources.items():
        node = record.get(source.name)
        if isinstance(node, Numbers) and node.size and node.is_vector:
            found[column] = converted(node.read(), source.unit)
        elif column == "time_s" and isinstance(node, Cells):
            found[column] = moments(node)
    return found


def moments(cells: Cells) -> Floats:
    """Seconds out of dates ('2022-09-16 10:00:00') or of times ('01:02:03.5'); empty where it is neither."""
    texts = [node.value.strip().replace("/", "-") if isinstance(node, Text) else "" for node in cells.items]
    try:
        if all("-" in text for text in texts):
            return np.array(texts, dtype="datetime64[ms]").astype(np.float64) / 1000.0
        parts = np.array([[float(part) for part in text.split(":")] for text in texts]).reshape(len(texts), 3)
    except (ValueError, OverflowError):
        return NOTHING
    seconds: Floats = parts @ np.array([3600.0, 60.0, 1.0])
    return seconds


def entry(values: Mapping[str, Floats], *, kind: str | None = None, started: datetime | None = None) -> Entry:
    """A record out of its columns; it has samples where voltage and current are of one length.

    Zeros throughout stand for no samples (MATR's first cycles): no cell is at 0 V while anything is measured.
    """
    nothing = ""
    if values.get("voltage_v", NOTHING).size and not values["voltage_v"].any():
        flows = values.get("current_a", NOTHING).any()
        nothing = "the voltage is zero in every sample" if flows else "all samples are zero"
        values = {name: column for name, column in values.items() if name not in SAMPLE_COLUMNS}
    length = values.get("voltage_v", NOTHING).size
    current = values.get("current_a", values.get("charge_ah", NOTHING)).size
    usable = length if length == current else 0
    equal = {
        column: values[column] for column in SAMPLE_COLUMNS if usable and values.get(column, NOTHING).size == usable
    }
    per_sample = {name: values[name] for name in COUNTERS if 1 < usable == values.get(name, NOTHING).size}
    scalars = {name: one for name in (*COUNTERS, "resistance_ohm") if (one := _constant(values.get(name))) is not None}
    per_sample = {name: counter for name, counter in per_sample.items() if name not in scalars}
    known_lengths = [column for column in SAMPLE_COLUMNS if values.get(column, NOTHING).size]
    number = values.get("cycle_index", NOTHING)
    return Entry(
        index=whole(number),
        samples={column: equal[column] if column in equal else np.full(usable, np.nan) for column in SAMPLE_COLUMNS},
        counters=per_sample,
        scalars=scalars,
        unequal=tuple(column for column in known_lengths if column not in equal),
        nothing=nothing,
        kind=kind,
        started=started,
        fractional=whole(number) is None and bool(np.isfinite(number[:1]).any()),
    )


def _constant(values: Floats | None) -> float | None:
    """The one finite number that a field holds, once or again for every sample; None for counters and for nothing."""
    if values is None or not values.size or not np.isfinite(values[0]):
        return None
    same = values.size == 1 or (values[0] != 0.0 and values[-1] == values[0] and bool((values == values[0]).all()))
    return float(values[0]) if same else None


def joined_entries(parts: Sequence[Entry]) -> Entry:
    """Parts of one cycle one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Entry(
        index=next((part.index for part in parts if part.index is not None), None),
        samples={name: np.concatenate([part.samples[name] for part in parts]) for name in SAMPLE_COLUMNS},
        scalars={name: value for part in parts for name, value in part.scalars.items()},
        unequal=tuple(dict.fromkeys(name for part in parts for name in part.unequal)),
        nothing=next((part.nothing for part in parts if part.nothing), ""),
        fractional=any(part.fractional for part in parts),
    )


def whole(values: Floats) -> int | None:
    """The first value as a cycle number; None where it is not a whole one."""
    if not values.size or not abs(values[0]) <= LARGEST_INDEX:
        return None
    number = round(float(values[0]))
    return number if abs(values[0] - number) <= WHOLE_WITHIN else None


def date_of(node: Node | None) -> datetime | None:
    """A moment from a MATLAB date vector [year month day hour minute second]."""
    vector = numbers(node) if isinstance(node, Numbers) and node.size == DATE_LENGTH else None
    if vector is None or not all(map(isfinite, parts := vector.tolist())):
        return None
    year, month, day, hour, minute = map(int, parts[:5])
    try:
        return datetime(year, month, day, hour, minute) + timedelta(seconds=parts[5])  # noqa: DTZ001 - no zone
    except (ValueError, OverflowError):
        return None


def spread(count: int, most: int = 40) -> Iterable[int]:
    """Positions of at most `most` records all over a series, in pairs of neighbours: charges and discharges alike."""
    if count <= most:
        return range(count)
    starts = np.linspace(0, count - 2, most // 2).astype(int)
    return [int(at) for at in np.unique(np.concatenate([starts, starts + 1]))]
