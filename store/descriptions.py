"""What is said of a battery, in rows and in ``batteries/{id}.json`` beside its cycles.

The JSON is made from the row and says all of it, so that rows can be made again from files, and a restored data version
trains to what it trained to when it was new.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import orjson

from store.tables import Battery

LONGEST_TEXT = 255
NAMELESS = "upload.mat"
KEYS = ("filename", "sha256", "size_bytes", "total_cycles", "nominal_capacity", "manufacturer", "chemistry")
KEPT = (*KEYS, "import_report", "feature_version", "created_at", "updated_at")


class InvalidField(ValueError):
    """A field that a caller gave is not valid."""

    def __init__(self, field: str, issue: str) -> None:
        super().__init__(f"{field}: {issue}")
        self.field = field
        self.issue = issue


@dataclass(frozen=True)
class Description:
    """What a caller says of a battery; None where nothing. Raises InvalidField."""

    nominal_capacity: float | None = None  # Ah
    manufacturer: str | None = None
    chemistry: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_nominal_capacity(self.nominal_capacity)
        check_text("manufacturer", self.manufacturer)
        check_text("chemistry", self.chemistry)


def check_nominal_capacity(value: float | None) -> None:
    """Raise InvalidField unless it is a positive number, or nothing."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise InvalidField("nominal_capacity", "Must be a positive number of Ah")


def check_nominal_fits(value: float | None, misjudged_ah: float | None) -> None:
    """Raise InvalidField where capacities of about `misjudged_ah` are all far off the given nominal one."""
    if value is not None and misjudged_ah is not None:
        hint = "; is it mAh?" if value > misjudged_ah else ""
        issue = f"{value:g} Ah does not fit capacities of about {misjudged_ah:.3g} Ah in the file{hint}"
        raise InvalidField("nominal_capacity", issue)


def check_text(field: str, value: str | None) -> None:
    """Raise InvalidField unless databases and people can read it, or it is nothing."""
    if value is None:
        return
    if len(value) > LONGEST_TEXT:
        raise InvalidField(field, f"At most {LONGEST_TEXT} characters")
    if not value.isprintable():
        raise InvalidField(field, "No control characters")


def shown_name(filename: str) -> str:
    """A file name to show: no folders, no control characters, at most 255 characters (the last), never empty."""
    return printable(PureWindowsPath(filename).name)[-LONGEST_TEXT:].strip() or NAMELESS


def found_text(value: str | None) -> str | None:
    """What a file says of its cell, made to pass ``check_text``; None when nothing is left."""
    return (printable(value)[:LONGEST_TEXT].strip() or None) if value else None


def printable(value: str) -> str:
    """The text without control characters and other bytes that databases or people cannot read."""
    return "".join(character for character in value if character.isprintable()).strip()


def to_json(battery: Battery) -> bytes:
    """The file's content; the same row gives the same bytes."""
    content = {key: getattr(battery, key) for key in KEPT}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z) + b"\n"


def from_json(content: bytes) -> dict[str, Any]:
    """The columns of the row that such a file was made from."""
    found: dict[str, Any] = orjson.loads(content)
    times = {key: datetime.fromisoformat(found[key]) for key in ("created_at", "updated_at")}
    return {key: found[key] for key in KEPT} | times


def read(path: Path) -> dict[str, Any]:
    """The columns that a file holds. Raises FileNotFoundError."""
    return from_json(path.read_bytes())
