"""Uploads: a file becomes a battery, whole or not at all.

A limited process parses it in a folder of its own; then, in one transaction, its rows are inserted and its files
renamed into place. Whoever is killed on the way leaves either a whole battery, or files without a row, which
``store.sweeping`` removes at the next start.
"""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from batteries.features import FEATURE_VERSION
from store import batteries, files
from store.cycle_rows import CycleRows, cycle_rows
from store.descriptions import Description, check_nominal_fits, found_text, shown_name, to_json
from store.parser import Parsed, RunningParser, get_ready
from store.session import transaction, wait_for_turn
from store.settings import get_settings
from store.tables import Battery, CycleRow, utc_now


@contextmanager
def incoming() -> Iterator[Path]:
    """A private folder to receive an upload in; it and what is left in it are removed at the end."""
    get_ready()  # to parse, while the upload arrives
    with files.incoming(get_settings().data) as folder:
        yield folder


class Early:
    """Lets a parser begin with an upload while it arrives; ``end`` has to follow."""

    _turn = threading.Lock()  # of one upload at a time: whoever sends slowly keeps its parser and that one's memory

    def __init__(self) -> None:
        self.parser: RunningParser | None = None
        self._has_turn = False

    def begin(self, arriving: Path) -> None:
        """Begin with a file whose first bytes are there, unless it is another upload's turn."""
        self._has_turn = self._turn.acquire(blocking=False)
        if self._has_turn:
            self.parser = RunningParser(get_settings(), arriving)

    def end(self) -> None:
        """End the parser if it is still at work."""
        try:
            if self.parser is not None:
                self.parser.stop()
        finally:
            if self._has_turn:
                self._turn.release()


def import_upload(
    uploaded: Path,
    filename: str,
    description: Description | None = None,
    *,
    cell: int | None = None,
    parser: RunningParser | None = None,
) -> Battery:
    """Make a battery of an uploaded file, which is moved away when that succeeds; it must lie in ``incoming()``.

    ``parser`` has begun with it while it arrived, if any has (``Early``).
    Raises UnreadableFile, NoCycles or SeveralCells (``batteries.matfiles.errors``), and InvalidField for a nominal
    capacity that is far off all capacities in the file. Nothing is left behind then.
    """
    settings, said = get_settings(), description or Description()
    with incoming() as folder:
        parquet = folder / "cycles.parquet"
        if parser is None:
            parser = RunningParser(settings, uploaded, parquet, nominal_capacity=said.nominal_capacity, cell=cell)
        else:
            parser.want(parquet, nominal_capacity=said.nominal_capacity, cell=cell)
        with parser:
            facts = facts_of(uploaded)  # meanwhile
            parsed = parser.result()
        check_nominal_fits(said.nominal_capacity, parsed.misjudged_capacity)
        with ThreadPoolExecutor(1) as beside:
            on_disk = [beside.submit(files.flush, parquet)]  # the rows need its bytes, not the disk
            rows = cycle_rows(parquet, parsed.nominal_capacity, settings.end_of_life)
            battery = battery_row(filename, said, facts, parsed, rows)
            description_file = folder / "battery.json"
            on_disk.append(beside.submit(files.write_durably, description_file, to_json(battery)))
            sources = {"raw": uploaded, "cycles": parquet, "description": description_file}
            insert_battery(battery, rows, sources, on_disk)
    return battery


def battery_row(filename: str, said: Description, facts: dict[str, Any], parsed: Parsed, rows: CycleRows) -> Battery:
    """The battery's own row: what was said of it goes before what the file says."""
    now = utc_now()
    return Battery(
        filename=shown_name(filename),
        **facts,
        nominal_capacity=parsed.nominal_capacity,
        manufacturer=said.manufacturer or found_text(parsed.manufacturer),
        chemistry=said.chemistry or found_text(parsed.chemistry),
        total_cycles=parsed.total_cycles,
        feature_version=FEATURE_VERSION,
        import_report=report_of(parsed) | rows.incomplete(),
        created_at=now,
        updated_at=now,
    )


def facts_of(uploaded: Path) -> dict[str, Any]:
    """Hash and size of the uploaded bytes; they are on the disk afterwards."""
    with uploaded.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    files.flush(uploaded)
    return {"sha256": sha256, "size_bytes": uploaded.stat().st_size}


def report_of(parsed: Parsed) -> dict[str, Any]:
    """The battery's ``import_report``: what was found and assumed."""
    return {
        "layout": parsed.layout,
        "cell": parsed.cell,
        **parsed.report,
        "nominal_capacity_source": parsed.nominal_capacity_source,
        "layout_nominal_capacity": parsed.layout_nominal_capacity,
    }


def insert_battery(battery: Battery, rows: CycleRows, sources: dict[str, Path], on_disk: list[Future[None]]) -> None:
    """Insert the rows, move the files into place once they are on the disk, commit. What fails leaves neither."""
    settings = get_settings()
    with files.changing(settings.var):
        places: dict[str, Path] = {}
        try:
            with transaction() as session:
                session.add(battery)
                session.flush()
                insert_cycles(session, battery.id, rows)
                share_bytes(session, battery, sources["raw"])
                places = files.paths(settings.data, battery.id)
                for written in on_disk:
                    written.result()
                files.move_into_place({sources[kind]: place for kind, place in places.items()})
        except BaseException:
            for place in places.values():
                place.unlink(missing_ok=True)
            raise


def share_bytes(session: Session, battery: Battery, raw: Path) -> None:
    """Let the file share the bytes of an earlier battery's; they stay while any of the two has them.

    Two uploads of the same bytes at once come here one after the other.
    """
    wait_for_turn(session.connection(), int(battery.sha256[:15], 16))
    for earlier in batteries.with_bytes(session, battery.sha256):
        if earlier != battery.id and files.share_bytes(raw, files.paths(get_settings().data, earlier)["raw"]):
            return


def insert_cycles(session: Session, battery_id: int, rows: CycleRows) -> None:
    """Rows of a battery's cycles."""
    for part in rows.parts():
        session.execute(insert(CycleRow), [{"battery_id": battery_id, **row} for row in part])
