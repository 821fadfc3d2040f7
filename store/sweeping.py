"""What a start puts right after processes that were killed: leftovers go, files agree with rows."""

import logging
import re
import shutil
from pathlib import Path

from sqlalchemy import select

from store import files
from store.changes import settle
from store.session import reading
from store.settings import get_settings
from store.tables import Battery, DataVersion

log = logging.getLogger(__name__)

LOST = (
    "The database knows no battery and no data version, but data/ was versioned: its files are left alone. "
    "Bring the database back, or its rows with `battery data pull` and `battery data checkout`"
)
NUMBERED = re.compile(r"(\d+)\.(mat|parquet|json)")


def sweep() -> list[str]:
    """Remove uploads that nobody is at, and files of batteries that do not exist; make files say what their rows say.

    Returns a line for each thing done. Safe at any time, in several processes at once; meant for the start.
    """
    settings = get_settings()
    done = [f"removed unfinished upload {name}" for name in remove_abandoned(settings.data)]
    with files.still(settings.var):
        with reading() as session:
            battery_ids = list(session.scalars(select(Battery.id).order_by(Battery.id)))
            version = session.scalar(select(DataVersion.id).limit(1))
        if not battery_ids and version is None and (settings.home / "data.dvc").is_file():
            log.error(LOST)
            return done
        done += [f"removed orphan {name}" for name in remove_orphans(settings.data, set(battery_ids))]
        done += settle(battery_ids)
    for line in done:
        log.warning("Start-up sweep: %s", line)
    return done


def remove_abandoned(data: Path) -> list[str]:
    """Remove incoming folders of processes that are gone."""
    parent = data / files.INCOMING
    if not parent.is_dir():
        return []
    with files.beginning(parent, exclusive=True):
        abandoned = [folder for folder in sorted(parent.iterdir()) if files.is_abandoned(folder)]
        for folder in abandoned:
            shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in abandoned]


def remove_orphans(data: Path, battery_ids: set[int]) -> list[str]:
    """Remove files that are named after a battery that does not exist."""
    removed = []
    for path in orphans(data, battery_ids):
        path.unlink()
        removed.append(str(path.relative_to(data)))
    return removed


def orphans(data: Path, battery_ids: set[int]) -> list[Path]:
    """Files that are named after a battery that does not exist."""
    return [
        path
        for folder in ("raw", "cycles", "batteries")
        for path in sorted((data / folder).glob("*"))
        if (numbered := NUMBERED.fullmatch(path.name)) and int(numbered[1]) not in battery_ids
    ]
