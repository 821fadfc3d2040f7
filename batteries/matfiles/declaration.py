"""What a layout says of itself: which of its names is which column, in which unit, with which sign.

How to add one: docs/formats.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from batteries.matfiles.entries import Record


@dataclass(frozen=True)
class Column:
    """A field of the layout and the unit that it is in (see `units`).

    A field of a cycle's record; or, as 'struct.field', a vector of the cell with one number for each cycle.
    """

    name: str
    unit: str = ""


Columns = Mapping[str, Column | tuple[Column, ...]]


@dataclass(frozen=True)
class Declaration:
    """A layout: which names it has for the product's columns, in which units, and what is known of its cells."""

    name: str
    cycles: str  # the cell's field with the cycles; or a pattern of field names whose group is the cycle's number
    columns: Columns  # by the product's column, see `units.UNITS`; of several the first found
    positive_on: str = "charge"  # or "discharge": what a positive current means in the layout
    marks: tuple[str, ...] = ()  # names, 'field' of a cycle or 'struct.field' of the cell; a cell has at least one
    inside: str = ""  # the struct of a cycle's record that holds the columns, where they do not lie in it
    parts: Mapping[str, str] = field(default_factory=dict)  # structs of a cycle in their order: 'charge' or 'discharge'
    kind: str = ""  # the record's field that says 'charge' or 'discharge': records are halves of cycles
    started: str = ""  # the record's field with a date vector
    resistance: Callable[[Record], float | None] | None = None  # ohm, of a record that is neither
    cell_names: tuple[str, ...] = ()  # the cell's fields that name it, instead of its place
    nominal_capacity_ah: float | None = None
    manufacturer: str | None = None
    chemistry: str | None = None
    discharge_cut_off_v: float | None = None
    notes: tuple[str, ...] = ()  # sentences for every report

    @property
    def derives_current(self) -> bool:
        """Whether the layout has no current, which then is the rate of change of its charge."""
        return "current_a" not in self.columns

    def fields_of(self, column: str) -> tuple[Column, ...]:
        """The fields that may hold a column, the first found counts."""
        columns = self.columns.get(column, ())
        return columns if isinstance(columns, tuple) else (columns,)
