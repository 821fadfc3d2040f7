"""What models are trained on, from a data folder: the live one or a version (``store.versions.materialise``)."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from batteries.windows import History
from store import descriptions, files, recordings
from store.cycle_rows import health


def history(data: Path, battery_id: int, end_of_life: float) -> History:
    """One battery's life. Raises FileNotFoundError for no such battery, StaleFeatures."""
    said = descriptions.read(files.paths(data, battery_id)["description"])
    columns = ("cycle_index", "capacity_ah", *recordings.FEATURE_COLUMNS)
    with pq.ParquetFile(recordings.path_of(data, battery_id)) as file:
        recordings.require_current_features(file, battery_id)
        table = file.read(columns=list(columns), use_threads=False)
    cycle_index, capacity_ah = (recordings.numbers_of(table, name) for name in ("cycle_index", "capacity_ah"))
    soh, rul = health(capacity_ah, cycle_index, said["nominal_capacity"], end_of_life)
    return History(
        cell=f"battery {battery_id}",
        cycle_index=cycle_index,
        features=recordings.feature_matrix(table),
        soh=soh,
        rul=rul,
        nominal_capacity_ah=said["nominal_capacity"],
        chemistry=said["chemistry"],
    )


def histories(data: Path, battery_ids: Iterable[int], end_of_life: float) -> list[History]:
    """The lives of these batteries, in this order; ``History.cell`` names the battery."""
    return [history(data, battery_id, end_of_life) for battery_id in battery_ids]
