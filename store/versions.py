"""Data versions: every state of ``data/`` that was versioned stays restorable, and a training job is pinned to one."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from store import data_versions, files
from store.adding import Added, add_ahead, add_all, add_changes
from store.dvc_objects import cached, fetch, listing
from store.dvc_repository import opened
from store.refreshing import refresh_stale
from store.remotes import push_versions
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Battery, DataVersion

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCK_NAME = "versions.lock"


def version_everything(*, push: bool = True, everything: bool = False) -> DataVersion | None:
    """Version ``data/`` as it is: what is new goes into DVC's cache, with one row, every battery's stamp, and one push.

    ``everything``: all of ``data/`` is looked at, not what rows call new alone. One at a time: others wait, but for no
    push unless they push themselves. The same state again is the same row. None where there never was a battery.
    Without ``push`` the version is kept on this machine alone until the next call pushes it; a push that fails raises
    after the version was recorded, and is made up for by the next call too.
    """
    settings = get_settings()
    with files.locked(settings.var / LOCK_NAME, exclusive=True):
        refresh_stale()
        version = snapshot(everything=everything)
    if push:
        push_versions()
    if version is None:
        return None
    with reading() as session:
        return session.get_one(DataVersion, version.id)


def snapshot(*, everything: bool) -> DataVersion | None:
    """Add ``data/`` to the cache and record the version, while no upload, change or removal is half done."""
    if nothing_yet():
        return None
    with opened(get_settings()) as repo:
        with reading() as session:
            unversioned = data_versions.unversioned(session)
        add_ahead(repo, unversioned)
        with files.still(get_settings().var):
            return record(repo, everything=everything)


def record_still() -> DataVersion | None:
    """Record all of ``data/`` as it is and stamp every battery with it; the caller is in ``files.still``."""
    if nothing_yet():
        return None
    with opened(get_settings()) as repo:
        return record(repo, everything=True)


def record(repo: "Repo", *, everything: bool) -> DataVersion:
    """The version's row and the stamps of the present state; the caller is in ``files.still``."""
    with reading() as session:
        before = data_versions.newest(session)
        stamps = dict(session.execute(select(Battery.id, Battery.data_version_id)).tuples().all())
    if before is None or everything:
        added = add_all(repo)
    else:
        new = {battery_id for battery_id, version_id in stamps.items() if version_id != before.id}
        added = add_changes(repo, Added(before.dvc_hash, before.size_bytes), new, set(stamps))
    with transaction() as session:
        version = data_versions.record(session, added.dvc_hash, len(stamps), added.size_bytes)
        data_versions.stamp(session, version)
    return version


def nothing_yet() -> bool:
    """Whether there is no battery and never was one."""
    with reading() as session:
        return data_versions.newest(session) is None and not session.scalar(select(func.count()).select_from(Battery))


def materialise(dvc_hash: str, battery_ids: list[int], into: Path) -> None:
    """Lay out these batteries as they were in a version: ``into/cycles`` and ``into/batteries``, as below ``data/``.

    The files are links to DVC's read-only cache: nothing is copied, and no upload, change or removal touches them.
    Raises LookupError for batteries that the version does not have, MissingObject.
    """
    settings = get_settings()
    names = listing(settings, dvc_hash)
    wanted = {
        name: names.get(name)
        for battery_id in battery_ids
        for kind, name in files.kinds(battery_id).items()
        if kind != "raw"
    }
    missing = sorted(name for name, md5 in wanted.items() if md5 is None)
    if missing:
        raise LookupError(f"data version {dvc_hash} does not have {', '.join(missing[:4])}")
    present = {name: md5 for name, md5 in wanted.items() if md5 is not None}
    fetch(settings, set(present.values()))
    for name, md5 in present.items():
        link = into / name
        files.private_folder(link.parent)
        link.symlink_to(cached(settings, md5).resolve())
