"""``/batteries``: upload cells, describe them, read their cycles."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from api.batteries import service, uploads
from api.batteries.schemas import BatteryAnswer, BatteryChanges, CycleAnswer, UploadFields
from api.documentation import bearer_scheme, errors
from api.pagination import Page, Paging, paging
from api.responses import LARGEST_ID, Identifier, Json, Printable
from api.state import State, state_of
from store import imports
from store.session import reading

router = APIRouter(prefix="/batteries", tags=["batteries"], dependencies=[Depends(bearer_scheme)])
FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "MATLAB file, v7.0 or v7.3, at most 100 MB."},
        "manufacturer": {"type": "string", "examples": ["Severson"]},
        "chemistry": {"type": "string", "examples": ["LFP"]},
        "nominal_capacity": {"type": "number", "description": "Ah", "examples": [1.1]},
        "cell": {"type": "integer", "description": "Which cell of a file that holds several, from 0.", "examples": [0]},
    },
}
CYCLE_INDEX = Query(ge=-LARGEST_ID, le=LARGEST_ID, description="Only the cycle recorded with this number.")
UPLOAD = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}


@router.get("", responses=errors())
def list_batteries(
    pages: Annotated[Paging, Depends(paging)],
    manufacturer: Annotated[
        Printable | None, Query(max_length=255, description="Only batteries of this maker.")
    ] = None,
) -> Page[BatteryAnswer]:
    """Batteries, oldest first."""
    with reading() as session:
        rows, meta = service.page(session, pages, manufacturer)
        return Page(items=[BatteryAnswer.model_validate(row) for row in rows], meta=meta)


@router.post("", status_code=201, responses=errors(400, 413), openapi_extra=UPLOAD)
async def create_battery(request: Request, state: Annotated[State, Depends(state_of)]) -> BatteryAnswer:
    """Upload a `.mat` file with cycling data. Its layout is recognised from what it holds.

    A file that holds several cells is 422 and lists them, unless `cell` chooses one. A new data version is made
    afterwards.
    """
    with imports.incoming() as folder:
        upload = await uploads.receive(
            request.stream(),
            request.headers.get("content-type", ""),
            folder,
            file_field="file",
            largest=state.settings.max_upload_bytes,
            text_fields=frozenset(UploadFields.model_fields),
        )
        battery = await run_sync(service.create, upload, limiter=state.parsing)
    state.outbox.nudge()
    return battery


@router.get("/{battery_id}", responses=errors(404))
def read_battery(battery_id: Identifier) -> BatteryAnswer:
    """One battery."""
    with reading() as session:
        return BatteryAnswer.model_validate(service.get(session, battery_id))


@router.patch("/{battery_id}", responses=errors(404))
async def update_battery(
    battery_id: Identifier, changes: BatteryChanges, state: Annotated[State, Depends(state_of)]
) -> BatteryAnswer:
    """Change what is said of a battery. What is left out stays; `null` clears.

    A new nominal capacity gives new `soh` and `rul`.
    """
    recomputes = "nominal_capacity" in changes.model_fields_set  # in a process of its own, as an upload is parsed
    battery = await run_sync(service.change, battery_id, changes, limiter=state.parsing if recomputes else None)
    state.outbox.nudge()
    return battery


@router.delete("/{battery_id}", status_code=204, responses=errors(404, 409))
async def delete_battery(battery_id: Identifier, state: Annotated[State, Depends(state_of)]) -> None:
    """Delete a battery, its cycles and its files; older data versions keep them.

    409 while a training job that is not over uses it.
    """
    await run_sync(service.delete, battery_id)
    state.outbox.nudge()


@router.get("/{battery_id}/cycles", response_model=Page[CycleAnswer], responses=errors(404))
async def list_cycles(
    battery_id: Identifier,
    pages: Annotated[Paging, Depends(paging)],
    state: Annotated[State, Depends(state_of)],
    cycle_index: Annotated[int | None, CYCLE_INDEX] = None,
) -> Json:
    """Cycles in the order of the file, with their samples."""

    def read() -> Json:
        return Json(service.cycles_page(battery_id, pages, cycle_index, state.settings.data))

    return await run_sync(read, limiter=state.pages)
