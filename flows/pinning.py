"""The data of a training job: a version of the data set, and the batteries' histories as that version has them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from flows import claiming
from flows.claiming import Claim
from models.observer import Observer, counted
from store import batteries, data_versions
from store.session import reading
from store.settings import get_settings
from store.tables import Battery

if TYPE_CHECKING:
    from batteries.windows import History


class MissingBatteries(Exception):
    """Batteries of the job were deleted before it started."""


@dataclass(frozen=True)
class Pinned:
    """What the job trains on."""

    data_version: str  # DVC hash
    histories: "list[History]"


def pin_data(claim: Claim, observer: Observer) -> Pinned:
    """Fix the data version, made now when a battery is not in one yet, and read the histories from it.

    Raises MissingBatteries.
    """
    from store import histories, versions

    data_version = current_version(claim.battery_ids)
    if data_version is None:
        versions.version_everything(push=False)  # the flow version-data pushes
        data_version = current_version(claim.battery_ids)
    if data_version is None:
        raise MissingBatteries("the data changed while it was being versioned; submit the job again")
    source = claiming.folder(claim.job_id) / "data"
    shutil.rmtree(source, ignore_errors=True)  # an earlier process of the job may have left it
    versions.materialise(data_version, list(claim.battery_ids), source)
    found = histories.histories(source, claim.battery_ids, get_settings().end_of_life)
    cycles = counted(sum(len(history) for history in found), "cycle", "cycles")
    observer.log("info", f"Data version {data_version}: {counted(len(found), 'battery', 'batteries')}, {cycles}")
    return Pinned(data_version, found)


def current_version(battery_ids: Sequence[int]) -> str | None:
    """The newest data version, when every one of these batteries is in it as it is now. Raises MissingBatteries."""
    with reading() as session:
        missing = batteries.missing(session, list(battery_ids))
        if missing:
            raise MissingBatteries(f"deleted before training started: battery {', '.join(map(str, missing))}")
        newest = data_versions.newest(session)
        if newest is None:
            return None
        stamped = set(session.scalars(select(Battery.id).where(Battery.data_version_id == newest.id)))
        return newest.dvc_hash if stamped.issuperset(battery_ids) else None
