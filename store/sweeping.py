"""What a start puts right after processes that were killed: leftovers go, files agree with rows."""

import logging
import re
import shutil
from pathlib import Path

from sqlalchemy import select

from store import files
from store.changes import given_capacity, recompute, replace_files
from store.descriptions import read, to_json
from store.session import reading
from store.settings import get_settings
from store.tables import Battery

log = logging.getLogger(__name__)

NUMBERED = re.compile(r"(\d+)\.(mat|parquet|json)")


def sweep() -> list[str]:
    """Remove uploads that nobody is at, and files of batteries that do not exist; make files say what their rows say.

    Returns a line for each thing done. Safe at any time, in several processes at once; meant for the start.
    """
    settings = get_settings()
    done = [f"removed unfinished upload {name}" for name in remove_abandoned(settings.data)]
    with files.still(settings.var):
        with reading() as session:
            batteries = {battery.id: battery for battery in session.scalars(select(Battery))}
        done += [f"removed orphan {name}" for name in remove_orphans(settings.data, set(batteries))]
        for battery in batteries.values():
            done += repair(settings.data, battery)
    for line in done:
        log.warning("Start-up sweep: %s", line)
    return done


def remove_abandoned(data: Path) -> list[str]:
    """Remove incoming folders of processes that are gone."""
    parent = data / files.INCOMING
    if not parent.is_dir():
        return []
    abandoned = [folder for folder in sorted(parent.iterdir()) if files.is_abandoned(folder)]
    for folder in abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in abandoned]


def remove_orphans(data: Path, battery_ids: set[int]) -> list[str]:
    """Remove files that are named after a battery that does not exist."""
    removed = []
    for folder in ("raw", "cycles", "batteries"):
        for path in sorted((data / folder).glob("*")):
            numbered = NUMBERED.fullmatch(path.name)
            if numbered and int(numbered[1]) not in battery_ids:
                path.unlink()
                removed.append(f"{folder}/{path.name}")
    return removed


def repair(data: Path, battery: Battery) -> list[str]:
    """Make the description say what the row says, and the cycles' features follow its nominal capacity."""
    places = files.paths(data, battery.id)
    lost = [name for name in ("raw", "cycles") if not places[name].is_file()]
    if lost:
        log.error("Battery %s has lost its files: %s", battery.id, ", ".join(str(places[name]) for name in lost))
        return []
    description = places["description"]
    if description.is_file() and description.read_bytes() == to_json(battery):
        return []
    with files.incoming(data) as folder:
        same_capacity = description.is_file() and read(description)["nominal_capacity"] == battery.nominal_capacity
        parquet = None if same_capacity else recompute(battery, given_capacity(battery), folder)[0]
        replace_files(data, battery, folder, parquet)
    return [f"made the files of battery {battery.id} agree with its row"]
