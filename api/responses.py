"""JSON as the contract has it: UTF-8, UTC timestamps with a trailing Z, NaN as null."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, StringConstraints, WithJsonSchema
from starlette.responses import Response

DIGITS = 6  # that are told of an estimate, and at most so many decimals; networks compute with seven digits
LARGEST_ID = 2**31 - 1  # what every database's INTEGER key can hold


def is_key(number: int) -> bool:
    """True when ``number`` can be an id at all; asking a database for another one is an error on some."""
    return 0 < number <= LARGEST_ID


class Json(Response):
    """A response that orjson writes; numpy arrays pass through, NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes of ``content``."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def iso(moment: datetime) -> str:
    """``2025-01-07T10:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-01-07T10:00:00.000Z"]}),
]

Identifier = Annotated[int, Path(description="Its `id`.", examples=[1])]


def printable(text: str) -> str:
    """Refuse control characters: some databases cannot hold them, and logs must not."""
    if not text.isprintable():
        raise ValueError("No control characters")
    return text


PRINTABLE = AfterValidator(printable)  # after a length: of what a validator gave, pydantic counts items
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), PRINTABLE]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _fraction(value: float | None) -> float | None:
    finite = _finite(value)
    return finite if finite is None else min(1.0, max(0.0, finite))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{round(value, DIGITS):.{DIGITS}g}") + 0.0  # no -0.0


Number = Annotated[float | None, AfterValidator(_finite)]
Fraction = Annotated[float | None, AfterValidator(_fraction)]
ROUNDED = AfterValidator(_rounded)  # of what is estimated: 0.95, not 0.9500000000000001


class Schema(BaseModel):
    """Base of what is answered: read from rows, documented in OpenAPI."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())


class Request(BaseModel):
    """Base of what is asked: unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
