"""Data versions: every state of ``data/`` that was versioned stays restorable, and a training job is pinned to one."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from store import data_versions, files
from store.dvc_objects import add_files, cached, fetch, listing
from store.dvc_repository import opened
from store.refreshing import refresh_stale
from store.remotes import push_versions
from store.session import reading, transaction
from store.settings import get_settings
from store.tables import Battery, DataVersion

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCK_NAME = "versions.lock"


@dataclass(frozen=True)
class Added:
    """What ``dvc add data`` found."""

    dvc_hash: str
    size_bytes: int


def version_everything(*, push: bool = True) -> DataVersion | None:
    """Version ``data/`` as it is: one ``dvc add``, the version's row, every battery stamped with it, one ``dvc push``.

    One at a time: others wait, but for no push unless they push themselves. The same state again is the same row. None
    where there never was a battery. Without ``push`` the version is kept on this machine alone until the next call
    pushes it; a push that fails raises after the version was recorded, and is made up for by the next call too.
    """
    settings = get_settings()
    with files.locked(settings.var / LOCK_NAME, exclusive=True):
        refresh_stale()
        version = snapshot()
    if push:
        push_versions()
    if version is None:
        return None
    with reading() as session:
        return session.get_one(DataVersion, version.id)


def snapshot() -> DataVersion | None:
    """Add ``data/`` to the cache and record the version, while no upload, change or removal is half done."""
    if nothing_yet():
        return None
    with opened(get_settings()) as repo:
        add_ahead(repo)
        with files.still(get_settings().var):
            return record(repo)


def record_still() -> DataVersion | None:
    """Record the state of ``data/`` and stamp every battery with it; the caller is in ``files.still``."""
    if nothing_yet():
        return None
    with opened(get_settings()) as repo:
        return record(repo)


def add_ahead(repo: "Repo") -> None:
    """Hash and copy what is new while uploads go on, so that they wait for little when it counts.

    What changes or goes meanwhile does not matter: links keep the bytes as they were, since changes are renames.
    """
    settings = get_settings()
    with reading() as session:
        unversioned = session.scalars(select(Battery.id).where(Battery.data_version_id.is_(None))).all()
    with files.incoming(settings.data) as folder:
        links: dict[Path, Path] = {}
        for battery_id in unversioned:
            for kind, place in files.paths(settings.data, battery_id).items():
                link = folder / f"{battery_id}.{kind}"
                with contextlib.suppress(OSError):  # gone, or no links here: the look that counts sees what there is
                    os.link(place, link)
                    links[place] = link
        add_files(repo, links)


def record(repo: "Repo") -> DataVersion:
    """``dvc add data``, the version's row and the stamps; the caller is in ``files.still``."""
    added = add(repo)
    with transaction() as session:
        count = session.scalar(select(func.count()).select_from(Battery)) or 0
        version = data_versions.record(session, added.dvc_hash, count, added.size_bytes)
        unstamped = Battery.data_version_id.is_distinct_from(version.id)
        session.execute(update(Battery).where(unstamped).values(data_version_id=version.id))
    return version


def nothing_yet() -> bool:
    """Whether there is no battery and never was one."""
    with reading() as session:
        return data_versions.newest(session) is None and not session.scalar(select(func.count()).select_from(Battery))


def add(repo: "Repo") -> Added:
    """``dvc add data``. The workspace's files stay what they are: they are copied to the cache, not linked to it."""
    [stage] = repo.add([str(get_settings().data)], relink=False)
    [out] = stage.outs
    return Added(dvc_hash=out.hash_info.value, size_bytes=out.meta.size or 0)


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
