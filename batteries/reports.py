"""How a file was understood: what became which column, in which unit, and what was assumed, repaired or missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Where a column comes from: its name in the file, and the unit that it was read in."""

    name: str
    unit: str


@dataclass(frozen=True)
class Report:
    """What the person who gave a file may want to check. Sentences are in English, one fact each."""

    remarks: tuple[str, ...] = ()  # what the file says about itself, and how its cycles were found
    assumed: tuple[str, ...] = ()  # taken for granted, because the file does not say
    repaired: tuple[str, ...] = ()  # changed, because the numbers cannot be what they are said to be
    missing: tuple[str, ...] = ()  # what the file does not have
    left_out: tuple[str, ...] = ()  # what the file has and the product does not keep
    columns: Mapping[str, Origin] = field(default_factory=dict)  # by the product's column; no entry: the file has none
    current_sign: str = ""  # of the file, before any repair: 'positive on charge', …
    cells_in_file: int = 1

    @property
    def notes(self) -> tuple[str, ...]:
        """All sentences."""
        return (*self.remarks, *self.assumed, *self.repaired, *self.missing, *self.left_out)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON types."""
        return {
            "notes": list(self.notes),
            "assumed": list(self.assumed),
            "repaired": list(self.repaired),
            "missing": list(self.missing),
            "left_out": list(self.left_out),
            "columns": {column: {"from": origin.name, "unit": origin.unit} for column, origin in self.columns.items()},
            "current_sign": self.current_sign,
            "cells_in_file": self.cells_in_file,
        }
