"""How what is read back is sent: conditional answers, pages in headers, and files that are written as they go out."""

from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Query
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.batteries import cycles
from api.batteries.columns import FIELDS, Selection, selected
from api.batteries.cycles import Asked
from api.batteries.formats import FORMATS, JSON, Format, Name, chosen
from api.conditional import is_known, kept, not_modified
from api.documentation import errors
from api.memory import give_back
from api.responses import Json
from api.state import State

FIELDS_ASKED = Query(
    description="Only these columns, separated by commas; unknown ones are refused.",
    examples=["cycle_index,time,voltage"],
)
FORMAT_ASKED = Query(description="Stronger than `Accept`.")
BINARY = {"schema": {"type": "string", "format": "binary"}}
TAG = {"ETag": {"description": "Send it back as `If-None-Match`.", "schema": {"type": "string"}}}
TABLES = {known.media_type: BINARY for known in FORMATS if known is not JSON}
PAGED = {
    "X-Total-Count": {"description": "Cycles on all pages (not in JSON).", "schema": {"type": "integer"}},
    "Link": {"description": "`rel` first, prev, next, last of a page (not in JSON).", "schema": {"type": "string"}},
}
UNCHANGED = {"description": "`If-None-Match` names the answer as it is", "headers": TAG}
CYCLES: dict[int | str, dict[str, Any]] = {
    200: {"content": TABLES, "headers": TAG | PAGED},
    304: UNCHANGED,
    **errors(404, 406),
}
SUMMARY: dict[int | str, dict[str, Any]] = {
    200: {"content": TABLES, "headers": TAG},
    304: UNCHANGED,
    **errors(404, 406),
}
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The whole file",
        "content": {"application/octet-stream": BINARY},
        "headers": TAG | {"Content-Disposition": {"schema": {"type": "string"}}},
    },
    206: {
        "description": "The part that `Range` names",
        "content": {"application/octet-stream": BINARY},
        "headers": TAG | {"Content-Range": {"schema": {"type": "string"}}},
    },
    304: UNCHANGED,
    **errors(404, 416),
}


@dataclass(frozen=True)
class Written:
    """Which columns are asked for, and in which format."""

    kind: Format
    fields: Sequence[str]

    def selection(self, default: Selection, allowed: Sequence[str] = FIELDS) -> Selection:
        """The columns, ``default`` where none are named. Raises ValidationFailed."""
        return selected(self.fields, default, allowed)


async def written(
    request: Request,
    fields: Annotated[list[str], FIELDS_ASKED] = [],  # noqa: B006 - the framework copies it
    format: Annotated[Name | None, FORMAT_ASKED] = None,  # noqa: A002 - its name in the query
) -> Written:
    """Dependency: how cycles are to be written. Raises NotAcceptable."""
    return Written(chosen(format, request.headers.get("accept")), fields)


async def answer(request: Request, asked: Asked, state: State) -> Response:
    """What was asked for, or 304. Raises NotFound."""
    data = state.settings.data
    if asked.kind is JSON:
        return await run_sync(in_json, request.headers, asked, state, limiter=state.pages)
    life = await run_sync(cycles.life, asked, limiter=state.pages)
    if is_known(request.headers, life.tag):
        return not_modified(life.tag)
    headers = kept(life.tag) | page_headers(request.url.path, request.query_params, asked, life.total)
    headers["Content-Disposition"] = f'attachment; filename="battery_{asked.battery_id}.{asked.kind.suffix}"'
    if request.method == "HEAD":
        return Response(headers=headers, media_type=asked.kind.media_type)
    pieces = life.pieces(data)
    first = await run_sync(next, pieces, b"", limiter=state.pages)  # what cannot be found is not answered half
    return StreamingResponse(all_of(first, pieces, state.pages), headers=headers, media_type=asked.kind.media_type)


def in_json(headers: Headers, asked: Asked, state: State) -> Response:
    """A page, or a whole life as columns."""
    if asked.paging is None:
        life = cycles.life(asked)
        if is_known(headers, life.tag):
            return not_modified(life.tag)
        return Json({"battery_id": asked.battery_id} | life.columns(), headers=kept(life.tag))
    page = cycles.page(asked, asked.paging)
    if is_known(headers, page.tag):
        return not_modified(page.tag)
    if (body := state.kept_pages.get(page.tag)) is not None:
        return Response(body, media_type=JSON.media_type, headers=kept(page.tag))
    answer = Json({"items": page.items(state.settings.data), "meta": page.meta}, headers=kept(page.tag))
    state.kept_pages.keep(page.tag, bytes(answer.body))
    return answer


async def all_of(first: bytes, rest: Generator[bytes], limiter: CapacityLimiter) -> AsyncIterator[bytes]:
    """Pieces, each made in a thread when the client has taken the one before it."""
    try:
        piece: bytes | None = first
        while piece is not None:
            if piece:
                yield piece
            piece = await run_sync(next, rest, None, limiter=limiter)
    finally:
        rest.close()  # the file that it reads
        give_back()


def page_headers(path: str, query: QueryParams, asked: Asked, total: int) -> dict[str, str]:
    """How many cycles there are, and where the pages beside this one are (RFC 8288)."""
    headers = {"X-Total-Count": str(total)}
    if asked.paging is None:
        return headers
    here, last = asked.paging.page, max(1, asked.paging.meta(total).total_pages)
    pages = {"first": 1, "prev": min(here - 1, last), "next": here + 1 if here < last else 0, "last": last}
    others = [(name, value) for name, value in query.multi_items() if name != "page"]
    links = [(urlencode([*others, ("page", number)]), name) for name, number in pages.items() if number > 0]
    return headers | {"Link": ", ".join(f'<{path}?{asked_for}>; rel="{name}"' for asked_for, name in links)}
