"""What models are trained on, from a data folder: the live one or a version (``store.versions.materialise``)."""

from collections.abc import Iterable
from pathlib import Path

from batteries.windows import History
from store import descriptions, files, recordings
from store.cycle_rows import health
from store.refreshing import current_features


def history(data: Path, battery_id: int, end_of_life: float) -> History:
    """One battery's life, with features of this version. Raises FileNotFoundError for no such battery."""
    said = descriptions.read(files.paths(data, battery_id)["description"])
    found = current_features(recordings.path_of(data, battery_id), battery_id, said["nominal_capacity"])
    soh, rul = health(found.capacity_ah, found.cycle_index, said["nominal_capacity"], end_of_life)
    return History(
        cell=name_of(battery_id),
        cycle_index=found.cycle_index,
        features=found.features,
        soh=soh,
        rul=rul,
        nominal_capacity_ah=said["nominal_capacity"],
        chemistry=said["chemistry"],
    )


def name_of(battery_id: int) -> str:
    """What models call the cell of this battery."""
    return f"battery {battery_id}"


def histories(data: Path, battery_ids: Iterable[int], end_of_life: float) -> list[History]:
    """The lives of these batteries, in this order; ``History.cell`` names the battery."""
    return [history(data, battery_id, end_of_life) for battery_id in battery_ids]
