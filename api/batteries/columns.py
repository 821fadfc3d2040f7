"""Columns of cycles: what they are called outside, where they are kept, and which of them a caller wants."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.errors import not_valid
from store.recordings import ARRAYS

# In the order in which they are answered. The contract says "capacity"; what was added later carries its unit.
KEPT_AS = {
    "id": "id",
    "battery_id": "battery_id",
    "cycle_index": "cycle_index",
    "soh": "soh",
    "rul": "rul",
    "capacity": "capacity_ah",
    "charge_capacity_ah": "charge_capacity_ah",
    "energy_wh": "energy_wh",
    "charge_energy_wh": "charge_energy_wh",
    "coulombic_efficiency": "coulombic_efficiency",
    "duration_s": "duration_s",
    "mean_temperature_c": "mean_temperature_c",
    "max_temperature_c": "max_temperature_c",
    "internal_resistance_ohm": "internal_resistance_ohm",
    "c_rate": "c_rate",
    "complete": "complete",
}
SCALARS = tuple(KEPT_AS)
WHOLE_NUMBERS = ("id", "battery_id", "cycle_index")
FIELDS = (*SCALARS, *ARRAYS)
OF_THE_CONTRACT = ("id", "battery_id", "cycle_index", "soh", "rul", "capacity")


@dataclass(frozen=True)
class Selection:
    """The columns that are answered, in the order of ``FIELDS``."""

    scalars: tuple[str, ...]
    arrays: tuple[str, ...]

    @property
    def kept_as(self) -> tuple[str, ...]:
        """The scalars' names in rows."""
        return tuple(KEPT_AS[name] for name in self.scalars)


def selected(fields: Sequence[str], default: Selection, allowed: Sequence[str] = FIELDS) -> Selection:
    """What ``?fields=a,b`` asks for, ``default`` where it is left out. Raises ValidationFailed for unknown names."""
    wanted = {name.strip() for given in fields for name in given.split(",")} - {""}
    if not wanted:
        return default
    unknown = sorted(wanted - set(allowed))
    if unknown:
        issue = f"Unknown: {', '.join(unknown)[:200]}; there are {', '.join(allowed)}"
        raise not_valid("fields", issue)
    return Selection(
        tuple(name for name in SCALARS if name in wanted), tuple(name for name in ARRAYS if name in wanted)
    )
