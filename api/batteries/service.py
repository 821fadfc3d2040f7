"""Uploading, describing and deleting batteries, and reading their cycles."""

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.batteries.schemas import BatteryAnswer, BatteryChanges, UploadFields
from api.batteries.uploads import Upload
from api.errors import Conflict, InvalidFileFormat, ValidationFailed, no_such, not_valid
from api.handlers import validation_error
from api.pagination import Page, Paging, page_of
from api.responses import is_key
from batteries.matfiles.errors import MatFileError, SeveralCells
from store import batteries, changes, imports, jobs
from store.descriptions import Description, InvalidField
from store.parser import RunningParser
from store.session import reading
from store.tables import Battery


def fields_of(upload: Upload) -> UploadFields:
    """The text fields of a form, converted; empty ones left out. Raises ValidationFailed with the field named."""
    known = {name: upload.fields[name] for name in UploadFields.model_fields if upload.fields.get(name, "").strip()}
    try:
        return UploadFields.model_validate(known)
    except ValidationError as error:
        raise validation_error(error.errors()) from error


def create(upload: Upload, parser: RunningParser | None = None) -> BatteryAnswer:
    """Import a received file, with the parser that has begun with it, if any.

    Raises InvalidFileFormat, and ValidationFailed for a field that does not fit the file.
    """
    fields = fields_of(upload)
    filename = upload.filename or upload.path.name
    try:
        description = Description(fields.nominal_capacity, fields.manufacturer, fields.chemistry)
        battery = imports.import_upload(upload.path, filename, description, cell=fields.cell, parser=parser)
    except SeveralCells as error:
        held = "several cells; choose one" if len(error.cells) > 1 else "one cell alone"
        issue = f"The file holds {held}: {numbered(error.cells)}"
        raise not_valid("cell", issue) from error
    except MatFileError as error:
        details = [{"field": "file", "issue": str(error)}]
        raise InvalidFileFormat("Unable to parse .mat file", details=details) from error
    except InvalidField as error:
        raise refused(error) from error
    return answered(battery)


def numbered(cells: Sequence[str]) -> str:
    """``0 (Cell1), 1 (Cell2)``."""
    return ", ".join(f"{number} ({name})" for number, name in enumerate(cells))


def refused(error: InvalidField) -> ValidationFailed:
    """A field that does not fit the file."""
    return not_valid(error.field, error.issue)


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
    return answered(battery)


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


def read(battery_id: int) -> BatteryAnswer:
    """The battery as it is answered. Raises NotFound."""
    with reading() as session:
        battery = get(session, battery_id)
        return described(battery, batteries.duplicates_of(session, [battery_id])[battery_id])


def page(paging: Paging, manufacturer: str | None) -> Page[BatteryAnswer]:
    """Batteries, oldest first."""
    with reading() as session:
        rows, meta = page_of(session, batteries.listing(manufacturer), paging)
        same = batteries.duplicates_of(session, [row.id for row in rows])
    return Page(items=[described(row, same.get(row.id)) for row in rows], meta=meta)


def answered(battery: Battery) -> BatteryAnswer:
    """A battery as it is answered."""
    with reading() as session:
        return described(battery, batteries.duplicates_of(session, [battery.id]).get(battery.id))


def described(battery: Battery, same_as: int | None) -> BatteryAnswer:
    """A battery with what it is a duplicate of."""
    return BatteryAnswer.model_validate(battery).model_copy(update={"duplicate_of": same_as})
