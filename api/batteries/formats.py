"""In which format cycles are answered: ``?format=``, else the best that ``Accept`` allows (RFC 9110, 12.5.1)."""

from dataclasses import dataclass
from typing import Literal

from api.errors import NotAcceptable


@dataclass(frozen=True)
class Format:
    """A way to write cycles; ``name`` is what ``?format=`` calls it."""

    name: str
    media_type: str
    suffix: str  # of a file name


JSON = Format("json", "application/json", "json")
ARROW = Format("arrow", "application/vnd.apache.arrow.stream", "arrows")
ARROW_FILE = Format("arrow-file", "application/vnd.apache.arrow.file", "arrow")
PARQUET = Format("parquet", "application/vnd.apache.parquet", "parquet")
CSV = Format("csv", "text/csv", "csv")
FORMATS = (JSON, ARROW, ARROW_FILE, PARQUET, CSV)  # the earlier one where a client likes two equally
BY_NAME = {known.name: known for known in FORMATS}
Name = Literal["json", "arrow", "arrow-file", "parquet", "csv"]


def chosen(name: Name | None, accept: str | None) -> Format:
    """The format that is asked for; its name is stronger than ``Accept``. Raises NotAcceptable."""
    return acceptable(accept) if name is None else BY_NAME[name]


def acceptable(accept: str | None) -> Format:
    """The format that ``Accept`` prefers; JSON where it does not say. Raises NotAcceptable."""
    if accept is None or accept in {"", "*/*", JSON.media_type}:
        return JSON
    ranges = parsed(accept)
    best = max(FORMATS, key=lambda known: quality(known.media_type, ranges))
    if quality(best.media_type, ranges) <= 0:
        offered = ", ".join(known.media_type for known in FORMATS)
        raise NotAcceptable(f"None of what Accept names can be given; {offered} can")
    return best


def parsed(accept: str) -> dict[str, float]:
    """Media ranges of an ``Accept`` header with their quality; one that is not readable is passed over."""
    ranges = {}
    for element in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in element.split(";"))
        weights = [value for name, _, value in (part.partition("=") for part in parameters) if name.strip() == "q"]
        try:
            ranges[media_range] = min(1.0, max(0.0, float(weights[0]))) if weights else 1.0
        except ValueError:
            continue
    return ranges


def quality(media_type: str, ranges: dict[str, float]) -> float:
    """How much a media type is liked, 0 to 1: what the most specific range says."""
    family = media_type.partition("/")[0]
    for media_range in (media_type, f"{family}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
