"""Data versions on their way to and from the remote of the settings."""

import contextlib
from collections.abc import Mapping

from sqlalchemy import select, update

from store import files
from store.dvc_objects import MissingObject, Progress, fetch, listing, objects_of, silent
from store.dvc_objects import push as push_objects
from store.session import reading, transaction
from store.settings import Settings, get_settings
from store.tables import DataVersion, utc_now

LOCK_NAME = "push.lock"


def push_versions() -> None:
    """Copy every version that is on this machine alone to the remote, with the bytes that no version there has.

    One at a time. A version that nobody has any more keeps no other one: it is raised at the end. Raises PushFailed,
    MissingObject, or what the remote's client raises.
    """
    settings = get_settings()
    with files.locked(settings.var / LOCK_NAME, exclusive=True):
        notice_another_remote(settings)
        with reading() as session:
            versions = session.scalars(select(DataVersion).order_by(DataVersion.seen_at)).all()
        there = [version for version in versions if version.pushed_at is not None]
        known = set(listing(settings, there[-1].dvc_hash).values()) if there else set()
        lost: MissingObject | None = None
        for version in versions:
            if version.pushed_at is None:
                try:
                    wanted = objects_of(settings, version.dvc_hash)
                    push_objects(settings, wanted - known)
                except MissingObject as error:
                    lost = error
                    continue
                known |= wanted
                mark_pushed(version.id)
    if lost is not None:
        raise lost


def push_everything(progress: Progress = silent) -> int:
    """Copy to the remote whatever it lacks of any version, also of those that it had once; how many objects.

    A version that nobody has whole any more keeps no other one: it is raised at the end. Raises as above.
    """
    settings = get_settings()
    with files.locked(settings.var / LOCK_NAME, exclusive=True):
        notice_another_remote(settings)
        with reading() as session:
            versions = {version.id: version for version in session.scalars(select(DataVersion))}
        objects: dict[int, set[str]] = {}
        lost: dict[int, MissingObject] = {}
        for number, version in versions.items():
            try:
                objects[number] = objects_of(settings, version.dvc_hash)
            except MissingObject as error:
                lost[number] = error
        copied = push_whole(settings, objects, lost, progress)
        for number, version in versions.items():
            if number not in lost and version.pushed_at is None:
                mark_pushed(number)
    if lost:
        numbers = ", ".join(map(str, sorted(lost)))
        raise MissingObject(f"{next(iter(lost.values()))}; the remote has every version but {numbers}")
    return copied


def push_whole(
    settings: Settings, objects: Mapping[int, set[str]], lost: dict[int, MissingObject], progress: Progress
) -> int:
    """Push the objects of versions, all at once where nothing is lost; add to ``lost`` those that are not whole."""
    with contextlib.suppress(MissingObject):
        return push_objects(settings, set().union(*objects.values()), progress)
    copied = 0
    for number, wanted in objects.items():
        try:
            copied += push_objects(settings, wanted, progress)
        except MissingObject as error:
            lost[number] = error
    return copied


def pull(hashes: list[str], progress: Progress = silent) -> int:
    """See to it that the cache has all of these versions; how many objects it lacked. Raises MissingObject."""
    settings = get_settings()
    wanted = set().union(*(objects_of(settings, dvc_hash) for dvc_hash in hashes))
    return fetch(settings, wanted, progress)


def mark_pushed(version_id: int) -> None:
    """The remote has this version now."""
    with transaction() as session:
        session.get_one(DataVersion, version_id).pushed_at = utc_now()


def notice_another_remote(settings: Settings) -> None:
    """When the settings name another remote than at the last push, it has no version yet."""
    note = files.private_folder(settings.var / "dvc") / "pushed-to"
    remote = settings.dvc_remote or "the folder in var"
    if note.exists() and note.read_text() != remote:
        with transaction() as session:
            session.execute(update(DataVersion).values(pushed_at=None))
    note.write_text(remote)
