"""The original bytes of a battery's file: streamed, in ranges when asked (RFC 9110, 14), under their own name."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from api.batteries.cycles import facts_of
from api.conditional import is_known, kept, not_modified
from api.errors import RangeNotSatisfiable, no_such
from store import files
from store.batteries import Facts
from store.session import selecting

PIECE_BYTES = 256 * 1024
BINARY = "application/octet-stream"
ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def download(battery_id: int, asked: Headers, data: Path, *, body: bool = True) -> Response:
    """The answer to a request with these headers; without ``body``, to HEAD. Raises NotFound, RangeNotSatisfiable."""
    battery, file = await run_sync(opened, battery_id, data)
    with ExitStack() as unless_sent:
        unless_sent.enter_context(file)
        tag, size = f'"{battery.sha256}"', os.fstat(file.fileno()).st_size
        if is_known(asked, tag):
            return not_modified(tag)
        span = part_of(asked, size, tag) if body else None
        start, stop = span or (0, size)
        headers = kept(tag) | {"Accept-Ranges": "bytes", "Content-Disposition": disposition(battery.filename)}
        headers["Content-Length"] = str(stop - start)
        if span:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if not body:
            return Response(headers=headers, media_type=BINARY)
        unless_sent.pop_all()
    return StreamingResponse(pieces(file, start, stop), 206 if span else 200, headers, BINARY)


def opened(battery_id: int, data: Path) -> tuple[Facts, BinaryIO]:
    """The battery and its file, which a removal does not take away from whoever reads it. Raises NotFound."""
    with selecting() as connection:
        battery = facts_of(connection, battery_id)
    try:
        return battery, files.paths(data, battery_id)["raw"].open("rb")
    except FileNotFoundError as error:
        raise no_such("Battery", battery_id) from error


def part_of(asked: Headers, size: int, tag: str) -> tuple[int, int] | None:
    """First byte and end of the range that is asked for; None for the whole file.

    What is no single range is passed over, and so is a range of other bytes than these (``If-Range``).
    """
    found = ONE_RANGE.fullmatch(asked.get("range", "").replace(" ", ""))
    if found is None or not any(found.groups()) or asked.get("if-range", tag) != tag:
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None:
        start, stop = max(0, size - (last or 0)), size
    else:
        start, stop = first, size if last is None else min(size, last + 1)
        if last is not None and last < first:
            return None
    if start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def disposition(filename: str) -> str:
    """To be saved under its name (RFC 6266), with a plain one beside it for what does not read RFC 8187."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


async def pieces(file: BinaryIO, start: int, stop: int) -> AsyncIterator[bytes]:
    """Bytes of a file, which is closed afterwards."""
    with file:
        file.seek(start)
        while start < stop and (piece := await run_sync(file.read, min(PIECE_BYTES, stop - start))):
            start += len(piece)
            yield piece
