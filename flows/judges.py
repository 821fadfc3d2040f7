"""The cells in the store that models may be judged on."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from pyarrow import ArrowException
from sqlalchemy import select

from batteries.features import FEATURE_VERSION
from batteries.matfiles.errors import MatFileError
from batteries.splits import MIN_CYCLES, OPENING
from store import histories, predictions
from store.session import reading
from store.settings import get_settings
from store.tables import Battery

if TYPE_CHECKING:
    from batteries.windows import History
    from models.promotion import Cell

UNREADABLE = (OSError, ArrowException, MatFileError, LookupError, ValueError)  # whatever the disk made of the files


def cells(warn: Callable[[str], None]) -> "list[Cell]":
    """Every cell with a nominal capacity and enough cycles to judge, each with its longest record.

    Batteries that begin with the same cycles are one cell. One that cannot be read is left out, which ``warn`` hears.
    """
    from models.promotion import Cell

    with reading() as session:
        columns = (Battery.id, Battery.total_cycles, Battery.nominal_capacity, Battery.feature_version)
        rows = session.execute(select(*columns).order_by(Battery.id)).all()
        begins = predictions.openings(session, [row.id for row in rows])
    records: dict[Hashable, list[int]] = defaultdict(list)
    for row in rows:
        records[_cell_of(row.id, begins.get(row.id, ()))].append(row.id)
    judging = {
        row.id: row.total_cycles
        for row in rows
        if row.nominal_capacity and row.feature_version == FEATURE_VERSION and row.total_cycles >= MIN_CYCLES
    }
    longest = [
        (same, max(filter(judging.get, same), key=judging.__getitem__, default=None)) for same in records.values()
    ]
    return [
        Cell(frozenset(map(histories.name_of, same)), _reader(battery_id, warn))
        for same, battery_id in longest
        if battery_id is not None
    ]


def _cell_of(battery_id: int, opening: Sequence[tuple[int, float | None]]) -> Hashable:
    """What batteries of the same cell have in common; nothing, where too little is known of its first cycles."""
    alike = len(opening) == OPENING and any(capacity is not None for _, capacity in opening)
    return tuple(opening) if alike else battery_id


def _reader(battery_id: int, warn: Callable[[str], None]) -> "Callable[[], History | None]":
    def read() -> "History | None":
        settings = get_settings()
        try:
            return histories.history(settings.data, battery_id, settings.end_of_life)
        except UNREADABLE as error:
            warn(f"Battery {battery_id} cannot be read and judges no model ({type(error).__name__})")
            return None

    return read
