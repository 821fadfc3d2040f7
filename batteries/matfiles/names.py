"""Which column a name of a variable or field stands for, in the usual spellings, with the unit that it names."""

import re
from dataclasses import dataclass
from functools import lru_cache

from batteries.matfiles.units import UNITS, Unit

WORDS: dict[str, frozenset[str]] = {
    "voltage_v": frozenset(
        {"v", "u", "voltage", "volt", "volts", "vol", "vcell", "ecell", "ewe", "potential", "vt", "vbat"}
    ),
    "current_a": frozenset({"i", "current", "icell", "curr", "cur", "amps", "amp", "ibat"}),
    "time_s": frozenset({"t", "time", "testtime", "timestamp"}),
    "temperature_c": frozenset(
        {"T", "temp", "temperature", "tcell", "tsurf", "tsurface", "auxtemperature", "auxtemp", "tbat"}
    ),
    "capacity_ah": frozenset({"q", "capacity", "cap", "amphr"}),
    "discharged_ah": frozenset({"qd", "qdis", "qdischarge", "qdch", "qdchg", "qdisch"}),
    "charged_ah": frozenset({"qc", "qcha", "qchg", "qch", "qcharge"}),
    "resistance_ohm": frozenset({"ir", "r", "rint", "dcir", "acir", "resistance", "internalresistance"}),
    "cycle_index": frozenset({"cycle", "cycles", "cyc", "cycleindex", "cyclenumber", "cycleno", "cycleid", "ncycle"}),
}
KINDS = frozenset({"type", "mode", "kind", "step_type", "steptype", "operation", "state", "status", "step", "process"})
QUALIFIERS = frozenset(
    {"measured", "meas", "cell", "terminal", "battery", "batt", "test", "total", "relative", "rel", "elapsed", "in"}
    | {"index", "idx", "number", "num", "no", "nr", "id", "data", "vec", "vector", "array", "surface", "aux", "avg"}
)
SIDES = {
    **dict.fromkeys(("charge", "chg", "cha", "ch", "charging"), "charge"),
    **dict.fromkeys(("discharge", "dis", "dchg", "dch", "disch", "dchrg", "dc", "discharging"), "discharge"),
}
SIDE_OF_CAPACITY = {"charge": "charged_ah", "discharge": "discharged_ah"}
MIXED_UNIT = re.compile(r"(mAh|mA|mV|Ah)$")  # capitals inside a word that do not begin a new one
TOKEN = re.compile(r"DChg|DCh|mAh|mA|mV|Ah|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SPLIT_UNITS = (
    (("ma", "h"), "mah"),
    (("a", "h"), "ah"),
    (("amp", "hr"), "ah"),
    (("deg", "c"), "degc"),
    (("m", "ohm"), "mohm"),
)


@dataclass(frozen=True)
class Name:
    """A column and, where the name says it, its unit, and the part of a cycle that it is of."""

    column: str
    unit: Unit | None = None
    side: str | None = None  # 'charge' or 'discharge'; None: of the whole cycle


@lru_cache(maxsize=4096)  # asked for every field of every cycle
def understand(name: str) -> Name | None:
    """The column that a name stands for; None for names of anything else.

    `voltage_V`, `Voltage_measured`, `V`, `relative_time_min`, `I_mA`, `T` (temperature), `t` (time), `V_charge`, …
    """
    tokens = _tokens(name)
    tokens = _merged(tokens[:-1] if len(tokens) > 1 and tokens[-1].isdigit() else tokens)
    for count in (len(tokens), len(tokens) - 1):  # the last token may be a unit
        words = [token for token in tokens[:count] if token.lower() not in QUALIFIERS and not token.isdigit()]
        said = tokens[count:]
        column, side = _column_and_side(words)
        if column is None and not words and said and said[0].lower() in UNITS["time_s"] and "test" in _lower(tokens):
            column = "time_s"  # Test_Sec, Test_Time_h
        if column is None:
            continue
        if not said:
            return Name(column, None, side)
        if said[0].lower() in UNITS[column]:
            return Name(column, UNITS[column][said[0].lower()], side)
    return None


def says_kind(name: str) -> bool:
    """Whether a field may say if its record is a charge or a discharge."""
    return name.lower() in KINDS


def kind_of(said: str | None) -> str | None:
    """'charge' or 'discharge' as a text says it: 'CC Chg', 'Discharge', …; None where it says neither."""
    found = {SIDES[token] for token in _lower(_tokens(said or "")) if token in SIDES}
    return found.pop() if len(found) == 1 else None


def _column_and_side(words: list[str]) -> tuple[str | None, str | None]:
    """The column and the side that words stand for; a capacity with a side is what was charged or discharged."""
    plain = _column(words)
    if plain:
        return plain, None
    sides = {SIDES[word.lower()] for word in words if word.lower() in SIDES}
    rest = _column([word for word in words if word.lower() not in SIDES])
    if len(sides) != 1 or rest is None or rest in {"resistance_ohm", "cycle_index"}:
        return None, None
    side = sides.pop()
    return (SIDE_OF_CAPACITY[side], None) if rest == "capacity_ah" else (rest, side)


def _column(words: list[str]) -> str | None:
    if not words:
        return None
    word = words[0] if len(words) == 1 and words[0] in {"T", "t"} else "".join(_lower(words))
    return next((column for column, spellings in WORDS.items() if word in spellings), None)


def _lower(tokens: list[str]) -> list[str]:
    return [token.lower() for token in tokens]


def _tokens(name: str) -> list[str]:
    parts = (MIXED_UNIT.sub(r"_\1", part) for part in re.split(r"[^A-Za-z0-9]+", name))
    return [token for part in parts for token in TOKEN.findall(part)]


def _merged(tokens: list[str]) -> list[str]:
    """A unit in two words at the end (`mA_h`, `deg_C`) as one."""
    for pair, unit in SPLIT_UNITS:
        if tuple(_lower(tokens[-2:])) == pair and len(tokens) > 2:
            return [*tokens[:-2], unit]
    return tokens


def squeezed(name: str) -> str:
    """A name in lower case without punctuation: `nominal_capacity_Ah` becomes `nominalcapacityah`."""
    return "".join(_lower(_tokens(name)))
