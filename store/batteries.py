"""Rows of batteries and of their cycles' scalars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, ScalarSelect, Select, bindparam, func, select
from sqlalchemy.orm import Session, aliased

from store.tables import Battery, CycleRow


def get(session: Session, battery_id: int) -> Battery | None:
    """The battery of this id."""
    return session.get(Battery, battery_id)


def listing(manufacturer: str | None = None) -> Select[Any]:
    """Query of batteries, oldest first; of one manufacturer, when given (without case)."""
    query = select(Battery).order_by(Battery.id)
    if manufacturer is None:
        return query
    return query.where(func.lower(Battery.manufacturer) == manufacturer.strip().lower())


def missing(session: Session, battery_ids: Sequence[int]) -> list[int]:
    """Those ids that no battery has, in the order given."""
    found = set(session.scalars(select(Battery.id).where(Battery.id.in_(battery_ids))))
    return [battery_id for battery_id in dict.fromkeys(battery_ids) if battery_id not in found]


@cache
def duplicate_of() -> ScalarSelect[int | None]:
    """The earliest other battery that is the same cell of the same bytes and is older; null where there is none.

    To be selected beside ``Battery``. It is looked up, not kept: when the earliest one is deleted, the next one is
    nobody's duplicate any more, and the others are duplicates of that one.
    """
    earlier = aliased(Battery)
    cells = [table.import_report["cell"].as_string() for table in (earlier, Battery)]
    return (
        select(func.min(earlier.id))
        .where(earlier.sha256 == Battery.sha256, earlier.id < Battery.id, cells[0].is_not_distinct_from(cells[1]))
        .correlate(Battery)
        .scalar_subquery()
    )


def duplicates_of(session: Session, battery_ids: Sequence[int]) -> dict[int, int | None]:
    """``duplicate_of`` of each of these batteries."""
    return dict(session.execute(_duplicates(), {"batteries": battery_ids}).tuples().all())


@cache
def _duplicates() -> Select[tuple[int, int | None]]:
    return select(Battery.id, duplicate_of()).where(Battery.id.in_(bindparam("batteries", expanding=True)))


def with_bytes(session: Session, sha256: str) -> Sequence[int]:
    """Ids of the batteries whose files hold these bytes, oldest first."""
    return session.scalars(select(Battery.id).where(Battery.sha256 == sha256).order_by(Battery.id)).all()


class Facts(NamedTuple):
    """What reading a battery's cycles and file, and predicting, needs to know of it."""

    id: int
    filename: str
    sha256: str
    size_bytes: int
    total_cycles: int
    nominal_capacity: float | None  # Ah
    chemistry: str | None
    updated_at: datetime


def facts(connection: Connection, battery_id: int) -> Facts | None:
    """The battery of this id."""
    found = connection.execute(_facts(), {"battery": battery_id}).first()
    return Facts(*found) if found else None


@cache
def _facts() -> Select[Any]:
    return select(*(getattr(Battery, name) for name in Facts._fields)).where(Battery.id == bindparam("battery"))


@dataclass(frozen=True)
class Span:
    """Some of a battery's cycles: from ``start`` to before ``stop`` of those that were recorded as ``cycle_index``."""

    start: int = 0
    stop: int = 2**31 - 1
    cycle_index: int | None = None  # None: of all


def cycles(connection: Connection, battery_id: int, names: tuple[str, ...], span: Span) -> CursorResult[Any]:
    """Columns of ``CycleRow`` of the cycles in a span, in the order of the file.

    Pages of all cycles cost the same wherever they lie: positions have no gaps, so nothing is counted off.
    """
    asked: dict[str, int] = {"battery": battery_id, "start": span.start}
    if span.cycle_index is None:
        return connection.execute(_cycles(names), asked | {"stop": span.stop})
    count = span.stop - span.start
    return connection.execute(_cycles_of_index(names), asked | {"index": span.cycle_index, "count": count})


def count_of_index(connection: Connection, battery_id: int, cycle_index: int) -> int:
    """How many of a battery's cycles were recorded with this number."""
    query = select(func.count()).where(CycleRow.battery_id == battery_id, CycleRow.cycle_index == cycle_index)
    return connection.execute(query).scalar_one()


@cache  # building a query costs more than asking it
def _cycles(names: tuple[str, ...]) -> Select[Any]:
    within = (CycleRow.position >= bindparam("start"), CycleRow.position < bindparam("stop"))
    return _columns(names).where(*within)


@cache
def _cycles_of_index(names: tuple[str, ...]) -> Select[Any]:
    found = _columns(names).where(CycleRow.cycle_index == bindparam("index"))
    return found.offset(bindparam("start")).limit(bindparam("count"))


def _columns(names: tuple[str, ...]) -> Select[Any]:
    columns = [getattr(CycleRow, name) for name in names]
    return select(*columns).where(CycleRow.battery_id == bindparam("battery")).order_by(CycleRow.position)
