"""Rows of batteries and of their cycles' scalars."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

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


def cycles(
    session: Session, battery: Battery, offset: int = 0, limit: int = 20, cycle_index: int | None = None
) -> tuple[list[CycleRow], int]:
    """One page of a battery's cycles in the order of the file, and how many there are on all pages.

    ``cycle_index`` keeps the cycles that were recorded with that number. Pages cost the same wherever they lie.
    """
    query = select(CycleRow).where(CycleRow.battery_id == battery.id).order_by(CycleRow.position)
    if cycle_index is None:
        page = query.where(CycleRow.position >= offset, CycleRow.position < offset + limit)
        return list(session.scalars(page)), battery.total_cycles
    query = query.where(CycleRow.cycle_index == cycle_index)
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    return list(session.scalars(query.offset(offset).limit(limit))), total
