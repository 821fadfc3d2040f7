"""Which column a name of a variable or field stands for, in the usual spellings, with the unit that it names."""

import re
from dataclasses import dataclass

UNITS: dict[str, dict[str, float]] = {  # column: unit: what one of it is in the product's unit
    "voltage_v": {"v": 1.0, "volt": 1.0, "volts": 1.0, "mv": 1e-3},
    "current_a": {"a": 1.0, "amp": 1.0, "amps": 1.0, "ampere": 1.0, "ma": 1e-3},
    "time_s": {
        "s": 1.0,
        "sec": 1.0,
        "secs": 1.0,
        "second": 1.0,
        "seconds": 1.0,
        "ms": 1e-3,
        "min": 60.0,
        "mins": 60.0,
        "minute": 60.0,
        "minutes": 60.0,
        "h": 3600.0,
        "hr": 3600.0,
        "hour": 3600.0,
        "hours": 3600.0,
        "days": 86400.0,
    },
    "temperature_c": {"c": 1.0, "degc": 1.0, "celsius": 1.0, "k": 1.0, "kelvin": 1.0},
    "capacity_ah": {"ah": 1.0, "mah": 1e-3},
    "cycle_index": {},
}
WORDS: dict[str, frozenset[str]] = {
    "voltage_v": frozenset({"v", "u", "voltage", "volt", "volts", "vcell", "ecell", "ewe", "potential"}),
    "current_a": frozenset({"i", "current", "icell", "curr"}),
    "time_s": frozenset({"t", "time", "testtime"}),
    "temperature_c": frozenset({"temp", "temperature", "tcell"}),
    "capacity_ah": frozenset({"q", "qd", "qdis", "qdischarge", "capacity", "cap"}),
    "cycle_index": frozenset({"cycle", "cycles", "cyc", "cycleindex", "cyclenumber", "cycleno"}),
}
QUALIFIERS = frozenset(
    {"measured", "meas", "cell", "terminal", "battery", "test", "relative", "rel", "elapsed", "discharge", "dis"}
    | {"index", "idx", "number", "num", "no", "nr", "id", "data", "vec", "vector", "array", "surface"}
)
EXACT = {"T": "temperature_c", "t": "time_s"}  # the only names whose meaning hangs on the case
MIXED_UNIT = re.compile(r"(mAh|mA|mV|Ah)$")  # capitals inside a word that do not begin a new one
TOKEN = re.compile(r"mAh|mA|mV|Ah|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class Name:
    """A column and, where the name says it, the factor to the product's unit and the unit's own name."""

    column: str
    unit: str | None = None
    factor: float = 1.0


def understand(name: str) -> Name | None:
    """The column that a name stands for; None for names of anything else.

    `voltage_V`, `Voltage_measured`, `V`, `relative_time_min`, `I_mA`, `T` (temperature), `t` (time), …
    """
    if name in EXACT:
        return Name(EXACT[name])
    tokens = _tokens(name)
    for count in (len(tokens), len(tokens) - 1):  # the last token may be a unit
        words = [token for token in tokens[:count] if token not in QUALIFIERS]
        said = tokens[count:]
        column = _column("".join(words)) if words else None
        if column is None:
            continue
        if not said:
            return Name(column)
        if said[0] in UNITS[column]:
            return Name(column, said[0], UNITS[column][said[0]])
    return None


def _column(word: str) -> str | None:
    return next((column for column, words in WORDS.items() if word in words), None)


def _tokens(name: str) -> list[str]:
    parts = (MIXED_UNIT.sub(r"_\1", part) for part in re.split(r"[^A-Za-z0-9]+", name))
    return [token.lower() for part in parts for token in TOKEN.findall(part)]


def squeezed(name: str) -> str:
    """A name in lower case without punctuation: `nominal_capacity_Ah` becomes `nominalcapacityah`."""
    return "".join(_tokens(name))
