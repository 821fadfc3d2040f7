"""Who serves once a champion is gone, and that one at a time decides who serves."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import select

from store import files
from store.session import reading, wait_for_turn
from store.settings import get_settings
from store.tables import Model

if TYPE_CHECKING:
    from models.registry import Registry

LOCK_NAME = "champions.lock"
ADVISORY_LOCK = 0x63686D70  # any number, the same in every process of the platform, and no other lock's
MOST_ASKED = 6  # models that a champion's place is offered to

logger = logging.getLogger(__name__)


@contextmanager
def deciding() -> Iterator[None]:
    """Held while it is decided who serves: of jobs that end together, the second meets the first one's champion.

    Keeps processes of one machine apart, on PostgreSQL those of all machines.
    """
    with files.locked(get_settings().var / LOCK_NAME, exclusive=True), reading() as session:
        wait_for_turn(session.connection(), ADVISORY_LOCK)
        yield


def put_back(registry: "Registry", algorithm: str, version: str) -> None:
    """When this version is the champion but should never have been, let the one before it serve again."""
    with deciding():
        if registry.champion(algorithm) != version:
            return
        former = _former(registry, algorithm, version)
        if former in _live(algorithm, version) and former in _feature_versions(registry, algorithm):
            registry.set_alias(algorithm, "champion", former)
        else:
            _appoint(registry, algorithm, version)


def hand_over(registry: "Registry", algorithm: str, version: str) -> None:
    """When this version is the champion, let the best other live one serve, if there is any."""
    with deciding():
        if registry.champion(algorithm) == version:
            _appoint(registry, algorithm, version)


def _appoint(registry: "Registry", algorithm: str, version: str) -> None:
    """Offer the place to the former champion first, then to those of the most batteries, then of the lowest error."""
    from batteries.features import FEATURE_VERSION
    from flows import judges
    from models import promotion

    registered = _feature_versions(registry, algorithm)
    live = {other: row for other, row in _live(algorithm, version).items() if other in registered}
    if not live:
        return
    former = _former(registry, algorithm, version)

    def rank(other: str) -> tuple[bool, int, float]:
        row = live[other]
        error = row.metrics.get("soh_mae")
        return other != former, -len(row.battery_ids or ()), math.inf if error is None else float(error)

    ranked = sorted(live, key=rank)
    current = [other for other in ranked if registered[other] == str(FEATURE_VERSION)]  # others cannot be judged
    asked = current[:MOST_ASKED]
    next_one = promotion.successor(registry, algorithm, asked, judges.cells(logger.warning)) if asked else ranked[0]
    registry.set_alias(algorithm, "champion", next_one)
    logger.info("%s %s serves in place of %s", algorithm, next_one, version)


def _live(algorithm: str, version: str) -> dict[str, Model]:
    """The algorithm's models that were not deleted, but for this version."""
    others = (Model.algorithm == algorithm, Model.deleted_at.is_(None), Model.mlflow_version != version)
    with reading() as session:
        return {row.mlflow_version: row for row in session.scalars(select(Model).where(*others))}


def _feature_versions(registry: "Registry", algorithm: str) -> dict[str, str | None]:
    """Of the versions that MLflow still has: somebody may have removed others there."""
    found = registry.client.search_model_versions(f"name = '{algorithm}'")
    return {str(version.version): version.tags.get("battery.feature_version") for version in found}


def _former(registry: "Registry", algorithm: str, version: str) -> str:
    from models.promotion import PREVIOUS_CHAMPION

    return registry.client.get_model_version(algorithm, version).tags.get(PREVIOUS_CHAMPION, "")
