"""Looking at versions of the data set."""

from sqlalchemy.orm import Session

from api.data_versions.schemas import DataVersionAnswer
from api.errors import no_such
from api.pagination import Meta, Paging, page_of
from api.responses import is_key
from store import data_versions
from store.tables import DataVersion


def get(session: Session, version_id: int) -> DataVersionAnswer:
    """The version. Raises NotFound."""
    version = session.get(DataVersion, version_id) if is_key(version_id) else None
    if version is None:
        raise no_such("Data version", version_id)
    return answer(version, data_versions.current(session))


def page(session: Session, paging: Paging) -> tuple[list[DataVersionAnswer], Meta]:
    """Versions, the state that was found last first."""
    versions, meta = page_of(session, data_versions.listing(), paging)
    current = data_versions.current(session)
    return [answer(version, current) for version in versions], meta


def answer(version: DataVersion, current: DataVersion | None) -> DataVersionAnswer:
    """What is said of a version, where ``current`` is the one that the data set is in."""
    return DataVersionAnswer(
        id=version.id,
        hash=version.dvc_hash,
        battery_count=version.battery_count,
        size_bytes=version.size_bytes,
        created_at=version.created_at,
        pushed_at=version.pushed_at,
        current=current is not None and current.id == version.id,
    )
