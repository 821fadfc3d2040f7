"""Features and scalars of an older version of the platform are computed again: once in ``data/``, on the fly elsewhere.

``batteries.features.FEATURE_VERSION`` stands for their meaning. A battery's row and its Parquet file say which version
theirs are of; where that is another one, both follow from the samples that the file holds.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import select

from batteries.cycles import cycle_scalars
from batteries.features import FEATURE_VERSION, recording_features
from batteries.matfiles.errors import MatFileError
from store import files, recordings
from store.changes import refresh_features
from store.session import reading
from store.settings import get_settings
from store.tables import Battery

log = logging.getLogger(__name__)

LOCK_NAME = "refreshing.lock"


def refresh_stale() -> list[str]:
    """Bring every battery in ``data/`` to this version of the features. Returns a line for each thing done."""
    done = [refresh(battery_id) for battery_id in stale_batteries()]
    return [line for line in done if line is not None]


def refresh(battery_id: int) -> str | None:
    """Bring one battery to this version of the features, unless it is; a line that says so when something was done.

    It is computed in the limited process. Several callers wait for each other, and nothing is done twice. A battery
    whose samples cannot be read stays as it was, which the log says: it must not keep the others from going on.
    """
    with files.locked(get_settings().var / LOCK_NAME, exclusive=True):
        if battery_id not in stale_batteries():
            return None
        try:
            refresh_features(battery_id)
        except LookupError:
            log.info("Battery %s was deleted before its features were computed again", battery_id)
        except (MatFileError, FileNotFoundError) as error:
            log.warning("The features of battery %s cannot be computed again: %s", battery_id, error)
        else:
            return f"computed the features of battery {battery_id} again"
    return None


def stale_batteries() -> list[int]:
    """Batteries whose features are of another version, in order."""
    with reading() as session:
        query = select(Battery.id).where(Battery.feature_version != FEATURE_VERSION).order_by(Battery.id)
        return list(session.scalars(query))


@dataclass(frozen=True, eq=False)
class Computed:
    """What models learn from of N cycles."""

    cycle_index: NDArray[np.int32]  # (N,) as recorded
    capacity_ah: NDArray[np.float64]  # (N,), NaN where unknown
    features: NDArray[np.float32]  # (N, F), NaN where unknown


def current_features(path: Path, battery_id: int, nominal_capacity_ah: float | None) -> Computed:
    """What a Parquet file says, with features of this version: as kept, or computed from its samples where stale.

    For files that nobody may change, such as those of an earlier data version. Raises FileNotFoundError.
    """
    try:
        return _kept(path, battery_id)
    except recordings.StaleFeatures:
        recording = recordings.read_recording(path)
    scalars = cycle_scalars(recording, nominal_capacity_ah)
    return Computed(
        cycle_index=np.array([cycle.index for cycle in recording.cycles], dtype=np.int32),
        capacity_ah=scalars.capacity_ah,
        features=recording_features(recording.cycles, scalars.nominal_capacity_ah),
    )


def _kept(path: Path, battery_id: int) -> Computed:
    """What is in the file. Raises FileNotFoundError, StaleFeatures."""
    with pq.ParquetFile(path) as file:
        recordings.require_current_features(file, battery_id)
        columns = ["cycle_index", "capacity_ah", *recordings.FEATURE_COLUMNS]
        table: Any = file.read(columns=columns, use_threads=False)
    cycle_index, capacity_ah = (recordings.numbers_of(table, name) for name in ("cycle_index", "capacity_ah"))
    return Computed(cycle_index, capacity_ah, recordings.feature_matrix(table))
