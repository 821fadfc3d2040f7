"""What stands beside the cycles about the cell: who made it, of what, and how much it should hold."""

from batteries.matfiles.entries import Record
from batteries.matfiles.findings import Findings
from batteries.matfiles.names import squeezed
from batteries.matfiles.quantities import LARGEST_CELL_AH
from batteries.matfiles.tree import scalar, text

LONGEST_FACT = 255
FACTS = {
    "manufacturer": "manufacturer",
    "maker": "manufacturer",
    "chemistry": "chemistry",
    "cathode": "chemistry",
    "description": "description",
    "cell": "cell",
    "cellname": "cell",
    "cellid": "cell",
    "batteryname": "cell",
    "batteryid": "cell",
    "barcode": "cell",
}
NOMINAL_NAMES = frozenset(
    {"nominalcapacity", "ratedcapacity", "capacitynominal", "capacityrated", "qnom", "cnom", "qn"}
)


def facts(fields: Record) -> dict[str, str]:
    """Facts in words, by 'manufacturer', 'chemistry', 'description' and 'cell'."""
    found: dict[str, str] = {}
    for name in fields:
        fact = FACTS.get(squeezed(name))
        said = text(fields[name]) if fact else None
        if fact and said:
            found[fact] = said[:LONGEST_FACT]
    return found


def nominal_capacity_ah(fields: Record, findings: Findings) -> float | None:
    """The nominal capacity; in Ah unless its name says mAh, or says nothing and no cell has as many Ah."""
    for name in fields:
        plain = squeezed(name)
        for unit, factor in (("inmah", 1e-3), ("mah", 1e-3), ("inah", 1.0), ("ah", 1.0), ("", 1.0)):
            if plain.endswith(unit) and plain.removesuffix(unit) in NOMINAL_NAMES:
                value = scalar(fields[name])
                if value is None or value <= 0:
                    return None
                if not unit and value > LARGEST_CELL_AH:
                    findings.repaired.append(f"nominal capacity taken as mAh: {value:.4g} is too much in Ah")
                    return value * 1e-3
                return value * factor
    return None
