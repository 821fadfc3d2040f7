"""``/batteries``: upload cells, describe them, read their cycles."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.batteries import cycles, reading_back, service, uploads
from api.batteries.columns import SCALARS
from api.batteries.cycles import Asked
from api.batteries.downloads import download
from api.batteries.formats import CSV, JSON
from api.batteries.reading_back import Written, written
from api.batteries.schemas import BatteryAnswer, BatteryChanges, CycleAnswer, Summary, UploadFields
from api.documentation import bearer_scheme, errors
from api.pagination import Page, Paging, paging, paging_if_asked
from api.responses import LARGEST_ID, PRINTABLE, Identifier
from api.state import State, state_of
from store import imports

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
Maker = Annotated[str, StringConstraints(max_length=255), PRINTABLE]


@router.get("", responses=errors())
def list_batteries(
    pages: Annotated[Paging, Depends(paging)],
    manufacturer: Annotated[Maker | None, Query(description="Only batteries of this maker.")] = None,
) -> Page[BatteryAnswer]:
    """Batteries, oldest first."""
    return service.page(pages, manufacturer)


@router.post("", status_code=201, responses=errors(400, 413), openapi_extra=UPLOAD)
async def create_battery(request: Request, state: Annotated[State, Depends(state_of)]) -> BatteryAnswer:
    """Upload a `.mat` file with cycling data. Its layout is recognised from what it holds.

    A file that holds several cells is 422 and lists them, unless `cell` chooses one. A new data version is made
    afterwards.
    """
    with imports.incoming() as folder:
        async with uploads.parsing() as early:
            upload = await uploads.receive(
                request.stream(),
                request.headers.get("content-type", ""),
                folder,
                file_field="file",
                largest=state.settings.max_upload_bytes,
                text_fields=frozenset(UploadFields.model_fields),
                begun=early.begin,
            )
            battery = await run_sync(service.create, upload, early.parser, limiter=state.parsing)
    state.outbox.nudge()
    return battery


@router.get("/{battery_id}", responses=errors(404))
def read_battery(battery_id: Identifier) -> BatteryAnswer:
    """One battery."""
    return service.read(battery_id)


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


@router.head("/{battery_id}/cycles", include_in_schema=False)
@router.get("/{battery_id}/cycles", response_model=Page[CycleAnswer], responses=reading_back.CYCLES)
async def list_cycles(
    request: Request,
    battery_id: Identifier,
    *,
    written: Annotated[Written, Depends(written)],
    pages: Annotated[Paging | None, Depends(paging_if_asked)],
    state: Annotated[State, Depends(state_of)],
    cycle_index: Annotated[int | None, CYCLE_INDEX] = None,
) -> Response:
    """Cycles in the order of the file, with their samples.

    JSON comes in pages of 20. Arrow, Parquet and CSV hold all cycles unless a page is asked for; CSV has a row a
    sample. `time` is among their columns, and in JSON when `fields` names it.
    """
    if written.kind is JSON:
        pages = pages or Paging(page=1, page_size=20)
    default = {JSON: cycles.PAGE, CSV: cycles.LINES}.get(written.kind, cycles.TABLE)
    asked = Asked(battery_id, written.selection(default), written.kind, pages, cycle_index)
    return await reading_back.answer(request, asked, state)


@router.head("/{battery_id}/summary", include_in_schema=False)
@router.get("/{battery_id}/summary", response_model=Summary, responses=reading_back.SUMMARY)
async def read_summary(
    request: Request,
    battery_id: Identifier,
    written: Annotated[Written, Depends(written)],
    state: Annotated[State, Depends(state_of)],
) -> Response:
    """A battery's whole life in one call: what is known of each cycle, as columns of equal length."""
    asked = Asked(battery_id, written.selection(cycles.SUMMARY, SCALARS), written.kind)
    return await reading_back.answer(request, asked, state)


@router.head("/{battery_id}/file", include_in_schema=False)
@router.get("/{battery_id}/file", response_class=StreamingResponse, responses=reading_back.FILE)
async def download_file(
    request: Request, battery_id: Identifier, state: Annotated[State, Depends(state_of)]
) -> Response:
    """The file as it was uploaded, byte for byte. `Range` asks for a part of it."""
    return await download(battery_id, request.headers, state.settings.data, body=request.method != "HEAD")
