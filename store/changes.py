"""Changes and removals of batteries: rows and files follow each other.

Files move into place before the row's commit, the description first. Whoever fails in between makes the files agree
with the row again; whoever is killed leaves a description that does not say what the row says, for ``store.sweeping``.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from batteries.cycles import SCALARS
from batteries.features import FEATURE_VERSION
from batteries.matfiles.errors import MatFileError
from store import files
from store.cycle_rows import CycleRows, cycle_rows
from store.descriptions import Description, check_nominal_fits, read, to_json
from store.parser import Parsed, RunningParser
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Battery, CycleRow, utc_now

log = logging.getLogger(__name__)

COMPUTED = (*SCALARS, "soh", "rul")


def update_battery(battery_id: int, **changes: Any) -> Battery:
    """Change ``nominal_capacity``, ``manufacturer``, ``chemistry``: those that are named.

    Another nominal capacity computes capacities, features, SoH and RUL again; None goes back to what was found in the
    file. Raises LookupError when there is no such battery, InvalidField.
    """
    Description(**changes)
    while True:
        with reading() as session:
            battery = require(session, battery_id)
        given = changes.get("nominal_capacity", given_capacity(battery))
        changed = attempt(battery, changes, recomputes=given != given_capacity(battery), given=given)
        if changed is not None:
            return changed


def refresh_features(battery_id: int) -> Battery:
    """Compute a battery's features again, with this version of the platform. Raises LookupError when it is gone."""
    while True:
        with reading() as session:
            battery = require(session, battery_id)
        changed = attempt(battery, {}, recomputes=True, given=given_capacity(battery))
        if changed is not None:
            return changed


def attempt(seen: Battery, changes: dict[str, Any], *, recomputes: bool, given: float | None) -> Battery | None:
    """Change the battery as it was ``seen``; None when somebody else changed it meanwhile."""
    settings = get_settings()
    with files.incoming(settings.data) as folder:
        columns, new = dict(changes), None
        columns.pop("nominal_capacity", None)  # follows from what was given, below, or stays as it is
        if recomputes:
            try:
                parquet, parsed = recompute(seen, given, folder)
            except MatFileError:
                with reading() as session:
                    require(session, seen.id)  # its file is gone when it was deleted meanwhile
                raise
            if "nominal_capacity" in changes:
                check_nominal_fits(given, parsed.misjudged_capacity)
            new = Recomputed(parquet, cycle_rows(parquet, parsed.nominal_capacity, settings.end_of_life))
            source = {"nominal_capacity_source": parsed.nominal_capacity_source}
            columns["import_report"] = seen.import_report | source | new.rows.incomplete()
            columns |= {"nominal_capacity": parsed.nominal_capacity, "feature_version": FEATURE_VERSION}
        try:
            return write_change(seen, columns, folder, new)
        except BaseException:
            with files.still(settings.var):
                settle([seen.id])
            raise


@dataclass(frozen=True)
class Recomputed:
    """A battery's cycles, computed again: the file, and the rows that follow it."""

    parquet: Path
    rows: CycleRows


def write_change(seen: Battery, columns: dict[str, Any], folder: Path, new: Recomputed | None) -> Battery | None:
    """Row and files, as they are to be; None when somebody else changed the battery meanwhile."""
    settings = get_settings()
    with files.changing(settings.var), transaction() as session:
        battery = require(session, seen.id, lock=True)
        if battery.updated_at != seen.updated_at:
            return None
        for name, value in columns.items():
            setattr(battery, name, value)
        battery.data_version_id = None
        battery.updated_at = max(utc_now(), seen.updated_at + timedelta(microseconds=1))
        if new is not None:
            rewrite_cycles(session, battery.id, new.rows)
        replace_files(settings.data, battery, folder, new.parquet if new else None)
    return battery


def settle(battery_ids: Iterable[int]) -> list[str]:
    """Make the files of these batteries follow their rows, and remove those of batteries that are not there.

    The caller is in ``files.still``. Whoever's files had to change is in no data version as it is now. Returns a line
    for each thing done.
    """
    data, done = get_settings().data, []
    for battery_id in battery_ids:
        with reading() as session:
            battery = session.scalar(select(Battery).where(Battery.id == battery_id))
        if battery is None:
            files.remove(data, battery_id)
        elif repair(data, battery):
            done.append(f"made the files of battery {battery_id} agree with its row")
            with transaction() as session:
                session.execute(update(Battery).where(Battery.id == battery_id).values(data_version_id=None))
    return done


def repair(data: Path, battery: Battery) -> bool:
    """Make the description say what the row says, and the cycles' features follow its nominal capacity."""
    places = files.paths(data, battery.id)
    lost = [name for name in ("raw", "cycles") if not places[name].is_file()]
    if lost:
        log.error("Battery %s has lost its files: %s", battery.id, ", ".join(str(places[name]) for name in lost))
        return False
    description = places["description"]
    if description.is_file() and description.read_bytes() == to_json(battery):
        return False
    with files.incoming(data) as folder:
        parquet = (
            None if computed_alike(description, battery) else recompute(battery, given_capacity(battery), folder)[0]
        )
        replace_files(data, battery, folder, parquet)
    return True


def computed_alike(description: Path, battery: Battery) -> bool:
    """Whether the files were computed with the nominal capacity and the feature version of the row."""
    if not description.is_file():
        return False
    said = read(description)
    return all(said[name] == getattr(battery, name) for name in ("nominal_capacity", "feature_version"))


def recompute(battery: Battery, given_nominal: float | None, folder: Path) -> tuple[Path, Parsed]:
    """A new Parquet file, made from the battery's present one by the limited process."""
    settings, target = get_settings(), folder / "cycles.parquet"
    with RunningParser(
        settings,
        files.paths(settings.data, battery.id)["cycles"],
        target,
        kind="parquet",
        nominal_capacity=given_nominal,
        layout_nominal_capacity=battery.import_report["layout_nominal_capacity"],
    ) as parser:
        parsed = parser.result()
    files.flush(target)
    return target, parsed


def rewrite_cycles(session: Session, battery_id: int, rows: CycleRows) -> None:
    """What is computed of each cycle, as ``cycle_rows`` gives it; the rows keep their ids."""
    table = CycleRow.__table__
    statement = (
        update(table)  # type: ignore[arg-type]
        .where(table.c.battery_id == battery_id, table.c.position == bindparam("at"))
        .values({name: bindparam(f"new_{name}") for name in COMPUTED})
    )
    for part in rows.parts():
        values = [{"at": row["position"], **{f"new_{name}": row[name] for name in COMPUTED}} for row in part]
        session.connection().execute(statement, values)


def replace_files(data: Path, battery: Battery, folder: Path, parquet: Path | None) -> None:
    """Put the new description, and the new cycles where there are any, in the place of the old ones."""
    places, description = files.paths(data, battery.id), folder / "battery.json"
    files.write_durably(description, to_json(battery))
    moves = {description: places["description"]}
    if parquet is not None:
        moves[parquet] = places["cycles"]
    files.move_into_place(moves)


def delete_battery(battery_id: int) -> None:
    """Remove a battery's rows, then its files; versions keep their bytes. Raises LookupError when there is none."""
    settings = get_settings()
    with files.changing(settings.var):
        with transaction() as session:
            gone = session.execute(delete(Battery).where(Battery.id == battery_id).returning(Battery.id)).first()
            if gone is None:
                raise LookupError(f"there is no battery {battery_id}")
        files.remove(settings.data, battery_id)


def require(session: Session, battery_id: int, *, lock: bool = False) -> Battery:
    """The battery; with ``lock``, for this transaction alone to change. Raises LookupError when there is none."""
    battery = session.get(Battery, battery_id, with_for_update=lock, populate_existing=lock)
    if battery is None:
        raise LookupError(f"there is no battery {battery_id}")
    return battery


def given_capacity(battery: Battery) -> float | None:
    """The nominal capacity that a caller gave, None where it was found otherwise."""
    return battery.nominal_capacity if battery.import_report["nominal_capacity_source"] == "given" else None
