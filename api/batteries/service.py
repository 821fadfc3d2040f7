"""Uploading, describing and deleting batteries, and reading their cycles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.batteries.schemas import BatteryAnswer, BatteryChanges, UploadFields
from api.batteries.uploads import Upload
from api.errors import Conflict, InvalidFileFormat, ValidationFailed, no_such
from api.handlers import validation_error
from api.pagination import Meta, Paging, page_of
from api.responses import is_key
from batteries.matfiles.errors import MatFileError, SeveralCells
from store import batteries, changes, imports, jobs, recordings
from store.descriptions import Description, InvalidField
from store.session import reading
from store.tables import Battery, CycleRow


def fields_of(upload: Upload) -> UploadFields:
    """The text fields of a form, converted; empty ones left out. Raises ValidationFailed with the field named."""
    known = {name: upload.fields[name] for name in UploadFields.model_fields if upload.fields.get(name, "").strip()}
    try:
        return UploadFields.model_validate(known)
    except ValidationError as error:
        raise validation_error(error.errors()) from error


def create(upload: Upload) -> BatteryAnswer:
    """Import a received file. Raises InvalidFileFormat, and ValidationFailed for a field that does not fit the file."""
    fields = fields_of(upload)
    filename = upload.filename or upload.path.name
    try:
        description = Description(fields.nominal_capacity, fields.manufacturer, fields.chemistry)
        battery = imports.import_upload(upload.path, filename, description, cell=fields.cell)
    except SeveralCells as error:
        issue = f"The file holds several cells; choose one: {numbered(error.cells)}"
        raise ValidationFailed("Not valid: cell", details=[{"field": "cell", "issue": issue}]) from error
    except MatFileError as error:
        details = [{"field": "file", "issue": str(error)}]
        raise InvalidFileFormat("Unable to parse .mat file", details=details) from error
    except InvalidField as error:
        raise refused(error) from error
    return BatteryAnswer.model_validate(battery)


def numbered(cells: Sequence[str]) -> str:
    """``0 (Cell1), 1 (Cell2)``."""
    return ", ".join(f"{number} ({name})" for number, name in enumerate(cells))


def refused(error: InvalidField) -> ValidationFailed:
    """A field that does not fit the file."""
    return ValidationFailed(f"Not valid: {error.field}", details=[{"field": error.field, "issue": error.issue}])


def change(battery_id: int, asked: BatteryChanges) -> BatteryAnswer:
    """Change what is said of a battery. Raises NotFound."""
    with reading() as session:
        get(session, battery_id)
    try:
        battery = changes.update_battery(battery_id, **asked.model_dump(exclude_unset=True))
    except LookupError as error:
        raise no_such("Battery", battery_id) from error
    except InvalidField as error:
        raise refused(error) from error
    return BatteryAnswer.model_validate(battery)


def delete(battery_id: int) -> None:
    """Delete rows and files. Raises NotFound, or Conflict while a job that is not over uses the battery."""
    with reading() as session:
        get(session, battery_id)
        using = jobs.using_battery(session, battery_id)
    if using:
        raise Conflict(f"Battery {battery_id} is in use by training job {using[0]}")
    try:
        changes.delete_battery(battery_id)
    except LookupError as error:
        raise no_such("Battery", battery_id) from error


def get(session: Session, battery_id: int) -> Battery:
    """The battery. Raises NotFound."""
    battery = batteries.get(session, battery_id) if is_key(battery_id) else None
    if battery is None:
        raise no_such("Battery", battery_id)
    return battery


def page(session: Session, paging: Paging, manufacturer: str | None) -> tuple[list[Battery], Meta]:
    """Batteries, oldest first."""
    return page_of(session, batteries.listing(manufacturer), paging)


def cycles_page(battery_id: int, paging: Paging, cycle_index: int | None, data: Path) -> dict[str, Any]:
    """One page of cycles as it is written: arrays are views of the file, so that no number is touched twice."""
    with reading() as session:
        battery = get(session, battery_id)
        rows, total = batteries.cycles(session, battery, paging.offset, paging.page_size, cycle_index)
    try:
        arrays = recordings.cycle_arrays(data, battery_id, [row.position for row in rows])
    except FileNotFoundError as error:
        raise no_such("Battery", battery_id) from error  # deleted meanwhile
    items = [cycle_of(row) | {name: arrays[name][place] for name in recordings.SHOWN} for place, row in enumerate(rows)]
    return {"items": items, "meta": paging.meta(total).model_dump()}


def cycle_of(row: CycleRow) -> dict[str, Any]:
    """A cycle's scalars, as they are shown: SoH within 0 to 1."""
    return {
        "id": row.id,
        "battery_id": row.battery_id,
        "cycle_index": row.cycle_index,
        "soh": None if row.soh is None else min(1.0, max(0.0, row.soh)),
        "rul": row.rul,
        "capacity": row.capacity_ah,
    }
