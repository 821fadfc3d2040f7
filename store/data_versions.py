"""Rows of data versions: the states of ``data/`` that DVC keeps."""

import re
from typing import Any

from sqlalchemy import Select, exists, func, select, update
from sqlalchemy.orm import Session

from store.tables import Battery, DataVersion, utc_now

HASH_PREFIX = re.compile(r"[0-9a-f]{4,32}")
LARGEST_ID = 2**31 - 1


class DataVersionError(Exception):
    """Something cannot be done with a data version; the message says why."""


class NoSuchVersion(DataVersionError):
    """No data version has that name, or several have."""


def listing() -> Select[Any]:
    """Query of data versions, the one found last first."""
    return select(DataVersion).order_by(DataVersion.seen_at.desc(), DataVersion.id.desc())


def newest(session: Session) -> DataVersion | None:
    """The version that ``data/`` was found in last."""
    return session.scalars(listing().limit(1)).first()


def by_hash(session: Session, dvc_hash: str) -> DataVersion | None:
    """The version with this DVC hash."""
    return session.scalar(select(DataVersion).where(DataVersion.dvc_hash == dvc_hash))


def record(session: Session, dvc_hash: str, battery_count: int, size_bytes: int) -> DataVersion:
    """The row of this state, now the newest; made when ``data/`` was never in it before."""
    version = by_hash(session, dvc_hash)
    if version is None:
        version = DataVersion(dvc_hash=dvc_hash, battery_count=battery_count, size_bytes=size_bytes)
        session.add(version)
    version.seen_at = utc_now()
    session.flush()
    return version


def stamp(session: Session, version: DataVersion) -> None:
    """Every battery is in this version, as it is now."""
    unstamped = Battery.data_version_id.is_distinct_from(version.id)
    session.execute(update(Battery).where(unstamped).values(data_version_id=version.id))


def current(session: Session) -> DataVersion | None:
    """The version that ``data/`` is in; None when something was added, changed or deleted since the newest one."""
    version = newest(session)
    if version is None or unversioned(session):
        return None
    count = session.scalar(select(func.count()).select_from(Battery)) or 0
    return version if count == version.battery_count else None


def unversioned(session: Session) -> list[int]:
    """Ids of batteries that no version has as they are now."""
    return list(session.scalars(select(Battery.id).where(Battery.data_version_id.is_(None)).order_by(Battery.id)))


def is_behind(session: Session) -> bool:
    """Whether ``data/`` is in no version as it is, or that one was not pushed yet."""
    version = newest(session)
    if version is None:
        return bool(session.scalar(select(exists().where(Battery.id.is_not(None)))))
    return version.pushed_at is None or current(session) is None


def find(session: Session, name: str) -> DataVersion | None:
    """The version that a person names: by id, by hash, or by at least four characters that only its hash starts with.

    None where there is none. Raises NoSuchVersion when several are meant.
    """
    if name.isdecimal() and int(name) <= LARGEST_ID and (version := session.get(DataVersion, int(name))):
        return version
    prefix = name.removesuffix(".dir").lower()
    if not HASH_PREFIX.fullmatch(prefix):
        return None
    found = session.scalars(select(DataVersion).where(DataVersion.dvc_hash.startswith(prefix)).limit(2)).all()
    if len(found) > 1:
        raise NoSuchVersion(f"several data versions start with {prefix}")
    return found[0] if found else None
