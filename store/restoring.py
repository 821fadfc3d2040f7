"""Back to an earlier data version: its files in ``data/``, and the rows that were made of them."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from store import data_versions, descriptions, files, jobs
from store.changes import settle
from store.cycle_rows import cycle_rows
from store.dvc_objects import Progress, cached, fetch, listing, silent
from store.imports import insert_cycles
from store.session import reading, transaction
from store.settings import get_settings
from store.sweeping import sweep
from store.tables import Battery, DataVersion
from store.versions import LOCK_NAME, nothing_yet, record_still, snapshot

DESCRIPTION = re.compile(r"batteries/(\d+)\.json")
Hashes = dict[str, str]  # name below data/ → md5


class IncompleteVersion(data_versions.DataVersionError):
    """A data version lacks files of a battery: it was made of a damaged ``data/``."""


class BatteryInUse(data_versions.DataVersionError):
    """A training job that is not over needs a battery that the version does not have."""


@dataclass(frozen=True)
class Outlook:
    """What restoring a version would do now: ids of batteries."""

    written: list[int]  # would come back or change
    removed: list[int]
    unversioned: list[int]  # no version has them as they are


@dataclass(frozen=True)
class Restored:
    """What restoring a version did: ids of batteries, and of the version that was there before."""

    written: list[int]  # came back or changed
    removed: list[int]
    before: int | None  # None where there never was a battery


def outlook(dvc_hash: str) -> Outlook:
    """What ``restore`` would do, as far as rows tell. Raises MissingObject, IncompleteVersion."""
    wanted = checked_listing(dvc_hash)
    with reading() as session:
        newest, unversioned = data_versions.newest(session), data_versions.unversioned(session)
    changed = set(changed_since(newest, wanted)) | (set(unversioned) & set(ids_in(wanted)))
    return Outlook(written=sorted(changed), removed=gone(wanted), unversioned=unversioned)


def checked_listing(dvc_hash: str) -> Hashes:
    """The version's files. Raises MissingObject, IncompleteVersion."""
    wanted = listing(get_settings(), dvc_hash)
    for battery_id in ids_in(wanted):
        if lacking := sorted(set(files.kinds(battery_id).values()) - set(wanted)):
            raise IncompleteVersion(f"data version {dvc_hash} lacks {', '.join(lacking)}")
    return wanted


def restore(dvc_hash: str, progress: Progress = silent) -> Restored:
    """Make ``data/`` and the rows of batteries what they were in a version.

    The present state is versioned first, in the same moment in which it is replaced, so that nothing is lost by it.
    What a killed restore left half done is put right before. ``progress`` is told of objects that have to be pulled.
    Raises MissingObject when neither the cache nor the remote has the version, IncompleteVersion, BatteryInUse.
    """
    settings = get_settings()
    wanted = checked_listing(dvc_hash)
    fetch(settings, set(wanted.values()), progress)
    if not nothing_yet():  # else rows were lost, not files: none is an orphan
        sweep()
    with files.locked(settings.var / LOCK_NAME, exclusive=True), files.incoming(settings.data) as folder:
        refuse_unless_free(gone(wanted))
        lay_out(
            changed_since(snapshot(everything=True), wanted), wanted, folder
        )  # most of the work, while uploads go on
        with files.still(settings.var):
            before = record_still()
            changed, removed = changed_since(before, wanted), gone(wanted)
            lay_out(changed, wanted, folder)
            try:
                replace(dvc_hash, wanted, folder, changed, removed)
            except BaseException:
                settle(changed)
                raise
            for battery_id in removed:
                files.remove(settings.data, battery_id)
    return Restored(written=changed, removed=removed, before=None if before is None else before.id)


def gone(wanted: Hashes) -> list[int]:
    """Ids of the batteries that are there and are not in a version."""
    with reading() as session:
        return sorted(set(session.scalars(select(Battery.id))) - set(ids_in(wanted)))


def refuse_unless_free(battery_ids: list[int]) -> None:
    """Raise BatteryInUse when a training job that is not over uses one of them, as for a DELETE."""
    with reading() as session:
        for battery_id in battery_ids:
            if using := jobs.using_battery(session, battery_id):
                raise BatteryInUse(
                    f"training job {using[0]} uses battery {battery_id}, which this version does not have: "
                    "wait until the job is over, or stop it"
                )


def changed_since(now: DataVersion | None, wanted: Hashes) -> list[int]:
    """Ids of a version's batteries that are gone or are others than they were in it."""
    present = listing(get_settings(), now.dvc_hash) if now else {}
    with reading() as session:
        rows = set(session.scalars(select(Battery.id)))
    return [number for number in ids_in(wanted) if number not in rows or differs(number, wanted, present)]


def lay_out(battery_ids: list[int], wanted: Hashes, folder: Path) -> None:
    """Copy the files of these batteries from the cache to ``folder``, on the disk; what is there already stays.

    An uploaded file shares its bytes with an equal one of another battery, which is laid out too or stays as it is.
    """
    settings = get_settings()
    others = {number: files.kinds(number)["raw"] for number in set(ids_in(wanted)) - set(battery_ids)}
    uploaded = {wanted[name]: settings.data / name for name in others.values()}
    for battery_id in battery_ids:
        for kind, name in files.kinds(battery_id).items():
            copy = copy_of(folder, battery_id, kind)
            if not copy.exists() and not (kind == "raw" and linked(uploaded.get(wanted[name]), copy)):
                shutil.copyfile(cached(settings, wanted[name]), copy)
                files.flush(copy)
            if kind == "raw":
                uploaded.setdefault(wanted[name], copy)


def linked(same: Path | None, copy: Path) -> bool:
    """Make ``copy`` another name of a file; False where there is none, or the file system knows no second names."""
    if same is None:
        return False
    try:
        os.link(same, copy)
    except OSError:
        return False
    return True


def copy_of(folder: Path, battery_id: int, kind: str) -> Path:
    """Where ``lay_out`` puts a file."""
    return folder / f"{battery_id}.{kind}"


def replace(dvc_hash: str, wanted: Hashes, folder: Path, changed: list[int], removed: list[int]) -> None:
    """Rows and files of the version, in one transaction; descriptions move first, as in every change."""
    data = get_settings().data
    moves = [
        (copy_of(folder, battery_id, kind), files.paths(data, battery_id)[kind])
        for kind in ("description", "raw", "cycles")
        for battery_id in changed
    ]
    with transaction() as session:
        for battery_id in changed:
            bring_back(session, battery_id, folder)
        session.execute(delete(Battery).where(Battery.id.in_(removed)))
        stamp(session, dvc_hash, wanted)
        files.move_many_into_place(moves)


def ids_in(wanted: Hashes) -> list[int]:
    """Ids of the batteries of a version."""
    return sorted(int(found[1]) for name in wanted if (found := DESCRIPTION.fullmatch(name)))


def differs(battery_id: int, wanted: Hashes, present: Hashes) -> bool:
    """Whether any of the battery's files is another one now."""
    return any(wanted.get(name) != present.get(name) for name in files.kinds(battery_id).values())


def bring_back(session: Session, battery_id: int, folder: Path) -> None:
    """The battery's rows as the files that were laid out have them."""
    session.execute(delete(Battery).where(Battery.id == battery_id))
    battery = Battery(id=battery_id, **descriptions.read(copy_of(folder, battery_id, "description")))
    session.add(battery)
    session.flush()
    cycles = copy_of(folder, battery_id, "cycles")
    insert_cycles(session, battery_id, cycle_rows(cycles, battery.nominal_capacity, get_settings().end_of_life))


def stamp(session: Session, dvc_hash: str, wanted: Hashes) -> None:
    """Every battery is in this version now, which is the newest again; new ids go on after the highest one."""
    count = session.scalar(select(func.count()).select_from(Battery)) or 0
    size = sum(cached(get_settings(), md5).stat().st_size for md5 in wanted.values())
    version = data_versions.record(session, dvc_hash, count, size)
    data_versions.stamp(session, version)
    if session.get_bind().dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence('batteries', 'id')"
        session.execute(
            text(f"SELECT setval({sequence}, GREATEST(nextval({sequence}), (SELECT max(id) FROM batteries)))")  # noqa: S608
        )
