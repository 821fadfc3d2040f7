"""The audit trail of predictions, and what can be said of them once the truth is known."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.sql.dml import ReturningInsert

from batteries.splits import OPENING
from store.tables import Battery, CycleRow, Prediction

QUERIED = 500  # values in one query; databases bound them


def record_all(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert what was answered, to whom, from which weights; the new ids, in the order of ``rows``."""
    return list(connection.execute(_insert(), list(rows)).scalars())


@cache  # building a query costs more than asking it
def _insert() -> ReturningInsert[tuple[int]]:
    return insert(Prediction).returning(Prediction.id, sort_by_parameter_order=True)


def get(session: Session, prediction_id: int) -> Prediction | None:
    """The prediction of this id."""
    return session.get(Prediction, prediction_id)


def listing(
    *,
    battery_id: int | None = None,
    model_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Select[Any]:
    """Query of predictions, newest first, without their forecasts and explanations; ``since <= created_at < until``."""
    query = select(Prediction).options(defer(Prediction.forecast), defer(Prediction.explanation))
    for condition in (
        None if battery_id is None else Prediction.battery_id == battery_id,
        None if model_id is None else Prediction.model_id == model_id,
        None if since is None else Prediction.created_at >= since,
        None if until is None else Prediction.created_at < until,
    ):
        query = query if condition is None else query.where(condition)
    return query.order_by(Prediction.id.desc())


def of_model(session: Session, model_id: int, since: datetime) -> Sequence[Row[Any]]:
    """What monitoring looks at of a model's predictions since then, oldest first."""
    names = ("created_at", "battery_id", "position", "cycle_index", "result", "inputs", "feature_version", "input_hash")
    columns = [getattr(Prediction, name) for name in names]
    query = select(*columns).where(Prediction.model_id == model_id, Prediction.created_at >= since)
    return session.execute(query.order_by(Prediction.id)).all()


def longest_records(session: Session, battery_ids: set[int]) -> dict[int, int]:
    """Of each battery that is there the longest record of its cell: itself, or a battery that begins the same."""
    totals = dict(session.execute(select(Battery.id, Battery.total_cycles)).tuples().all())
    present = battery_ids & totals.keys()
    shortest = min((totals[battery_id] for battery_id in present), default=0)
    begins = openings(session, [battery_id for battery_id, total in totals.items() if total >= shortest])
    longest: dict[tuple[Any, ...], int] = {}
    for battery_id, opening in begins.items():
        known = longest.setdefault(opening, battery_id)
        if totals[battery_id] > totals[known]:
            longest[opening] = battery_id
    return {
        battery_id: longest[begins[battery_id]] if len(begins[battery_id]) == OPENING else battery_id
        for battery_id in present
    }


def openings(session: Session, battery_ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Number and capacity of the first cycles of each battery."""
    found: dict[int, list[Any]] = {}
    for start in range(0, len(battery_ids), QUERIED):
        some = battery_ids[start : start + QUERIED]
        query = select(CycleRow.battery_id, CycleRow.cycle_index, CycleRow.capacity_ah)
        query = query.where(CycleRow.battery_id.in_(some), CycleRow.position < OPENING)
        for battery_id, *cycle in session.execute(query.order_by(CycleRow.battery_id, CycleRow.position)):
            found.setdefault(battery_id, []).append(tuple(cycle))
    return {battery_id: tuple(cycles) for battery_id, cycles in found.items()}


Truth = tuple[int, float | None, float | None]


def truths(session: Session, battery_id: int, positions: Sequence[int]) -> dict[int, Truth]:
    """Recorded number, SoH and RUL of these cycles of a battery, by position."""
    found: dict[int, Truth] = {}
    wanted = sorted(set(positions))
    for start in range(0, len(wanted), QUERIED):
        some = wanted[start : start + QUERIED]
        query = select(CycleRow.position, CycleRow.cycle_index, CycleRow.soh, CycleRow.rul)
        for position, *facts in session.execute(
            query.where(CycleRow.battery_id == battery_id, CycleRow.position.in_(some))
        ):
            found[position] = (facts[0], facts[1], facts[2])
    return found


def position_of(connection: Connection, battery_id: int, cycle_index: int) -> int | None:
    """Position of a battery's cycle that was recorded with this number, the last one of several."""
    return connection.execute(_position_of(), {"battery": battery_id, "index": cycle_index}).scalar()


def latest_soh(connection: Connection, battery_id: int, position: int, count: int) -> list[tuple[int, float | None]]:
    """Recorded number and SoH of at most ``count`` cycles that end at ``position``."""
    asked = {"battery": battery_id, "after": position - count, "last": position}
    return list(connection.execute(_latest_soh(), asked).tuples())


@cache
def _position_of() -> Select[tuple[int]]:
    there = (CycleRow.battery_id == bindparam("battery"), CycleRow.cycle_index == bindparam("index"))
    return select(func.max(CycleRow.position)).where(*there)


@cache
def _latest_soh() -> Select[tuple[int, float | None]]:
    query = select(CycleRow.cycle_index, CycleRow.soh).order_by(CycleRow.position)
    within = (CycleRow.position > bindparam("after"), CycleRow.position <= bindparam("last"))
    return query.where(CycleRow.battery_id == bindparam("battery"), *within)
