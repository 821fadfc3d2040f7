"""Reading cycles back: pages as JSON, and pages or whole lives in the other formats."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, CursorResult

from api.batteries import tables
from api.batteries.columns import OF_THE_CONTRACT, SCALARS, WHOLE_NUMBERS, Selection
from api.batteries.formats import Format
from api.conditional import entity_tag
from api.errors import no_such
from api.health.service import release
from api.pagination import Paging
from api.responses import is_key
from store import batteries, recordings
from store.batteries import Facts, Span
from store.session import selecting

PAGE = Selection(SCALARS, recordings.SHOWN)
TABLE = Selection(SCALARS, recordings.ARRAYS)
LINES = Selection(OF_THE_CONTRACT, recordings.ARRAYS)  # CSV says the scalars again with every sample
SUMMARY = Selection(SCALARS[2:], ())
FOUND_BY = ("position", "id")  # read beside what is asked for
ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class Asked:
    """Which cycles of which battery, and how they are to be written."""

    battery_id: int
    selection: Selection
    kind: Format
    paging: Paging | None = None  # None: all of them
    cycle_index: int | None = None

    @property
    def span(self) -> Span:
        """Where the page lies."""
        if self.paging is None:
            return Span(cycle_index=self.cycle_index)
        return Span(self.paging.offset, self.paging.offset + self.paging.page_size, self.cycle_index)

    def rows(self, connection: Connection) -> CursorResult[Any]:
        """Their rows: ``FOUND_BY``, then the scalars."""
        return batteries.cycles(connection, self.battery_id, (*FOUND_BY, *self.selection.kept_as), self.span)

    def total(self, connection: Connection, battery: Facts) -> int:
        """How many there are on all pages."""
        if self.cycle_index is None:
            return battery.total_cycles
        return batteries.count_of_index(connection, self.battery_id, self.cycle_index)

    def tag(self, battery: Facts, first_id: int | None) -> str:
        """Changes with the battery, with the query, and when its rows were made again with other ids."""
        return entity_tag(release(), battery.sha256, battery.updated_at, first_id, self)


@dataclass(frozen=True)
class Page:
    """The rows of a page; samples are still in the file."""

    asked: Asked
    tag: str
    meta: dict[str, int]
    rows: Sequence[Any]

    def items(self, data: Path) -> list[dict[str, Any]]:
        """Cycles as they are written: arrays are views of the file, so that no number is touched twice.

        Raises NotFound when the battery was deleted meanwhile.
        """
        selection, soh = self.asked.selection, "soh" in self.asked.selection.scalars
        try:
            samples = recordings.cycle_arrays(data, self.asked.battery_id, [r[0] for r in self.rows], selection.arrays)
        except FileNotFoundError as error:
            raise no_such("Battery", self.asked.battery_id) from error
        items: list[dict[str, Any]] = [dict(zip(selection.scalars, row[2:], strict=True)) for row in self.rows]
        for place, item in enumerate(items):
            if soh and item["soh"] is not None:
                item["soh"] = min(1.0, max(0.0, item["soh"]))
            for name in selection.arrays:
                item[name] = samples[name][place]
        return items


@dataclass(frozen=True)
class Life:
    """The scalars of many cycles as columns (N,), NaN where unknown; samples are still in the file."""

    asked: Asked
    tag: str
    total: int
    positions: Sequence[int]
    scalars: tables.Scalars

    def columns(self) -> dict[str, Any]:
        """The scalars as JSON has them."""
        return {name: as_json(name, values) for name, values in self.scalars.items()}

    def pieces(self, data: Path) -> Generator[bytes]:
        """The file in the format that is asked for. Raises NotFound when the battery was deleted meanwhile."""
        samples = recordings.batches(data, self.asked.battery_id, self.positions, self.asked.selection.arrays)
        try:
            yield from tables.encoded(self.asked.selection, self.scalars, samples, self.asked.kind)
        except FileNotFoundError as error:
            raise no_such("Battery", self.asked.battery_id) from error


def page(asked: Asked, paging: Paging) -> Page:
    """Look up a page. Raises NotFound."""
    with selecting() as connection:
        battery = facts_of(connection, asked.battery_id)
        rows = asked.rows(connection).all()
        total = asked.total(connection, battery)
    tag = asked.tag(battery, rows[0].id if rows else None)
    return Page(asked, tag, paging.meta(total).model_dump(), rows)


def life(asked: Asked) -> Life:
    """Look up many cycles. Raises NotFound."""
    with selecting() as connection:
        battery = facts_of(connection, asked.battery_id)
        matrix = numbers(asked.rows(connection), len(FOUND_BY) + len(asked.selection.scalars))
        total = asked.total(connection, battery)
    positions, ids, *columns = matrix.T
    scalars = dict(zip(asked.selection.scalars, columns, strict=True))
    if "soh" in scalars:
        scalars["soh"] = np.clip(scalars["soh"], 0.0, 1.0)
    tag = asked.tag(battery, int(ids[0]) if len(ids) else None)
    return Life(asked, tag, total, positions.astype(int).tolist(), scalars)


def facts_of(connection: Connection, battery_id: int) -> Facts:
    """The battery. Raises NotFound."""
    battery = batteries.facts(connection, battery_id) if is_key(battery_id) else None
    if battery is None:
        raise no_such("Battery", battery_id)
    return battery


def numbers(rows: CursorResult[Any], columns: int) -> NDArray[np.float64]:
    """Rows as a matrix (N, columns), NaN for null, without all of them being Python objects at a time."""
    parts = [np.array([tuple(row) for row in part], dtype=np.float64) for part in rows.partitions(ROWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, columns))


def as_json(name: str, values: NDArray[np.float64]) -> Any:
    """A column for orjson, which writes NaN as null."""
    if name in WHOLE_NUMBERS:
        return values.astype(np.int64)
    if name == "complete":
        return [None if np.isnan(value) else bool(value) for value in values]
    return np.ascontiguousarray(values)
