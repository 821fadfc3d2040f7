"""Rows of data versions: the states of ``data/`` that DVC keeps."""

from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from store.tables import Battery, DataVersion, utc_now


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


def is_behind(session: Session) -> bool:
    """Whether batteries were added, changed or deleted since the newest version, or it was not pushed yet."""
    if session.scalar(select(exists().where(Battery.data_version_id.is_(None)))):
        return True
    version = newest(session)
    count = session.scalar(select(func.count()).select_from(Battery)) or 0
    if version is None:
        return count > 0
    return count != version.battery_count or version.pushed_at is None
