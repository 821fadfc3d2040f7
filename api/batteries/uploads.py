"""A multipart upload, streamed to a file while it is counted.

The framework's own form parser writes a body twice and only then lets anyone look at it; this one stops at the first
byte too many.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import IO

from anyio import CancelScope
from anyio.to_thread import run_sync
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from api.errors import MissingRequiredField, TooLarge, ValidationFailed, not_valid
from store.imports import Early

WRITE_BYTES = 1024 * 1024
LONGEST_FIELD = 8 * 1024
LONGEST_NAME = 255
IDLE_S = 60.0  # without a byte, after which an upload is given up


@dataclass
class Upload:
    """A received form: its file on disk (None: it had none), and its text fields."""

    path: Path
    filename: str | None = None
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)


class _Form:
    """What the parser's callbacks build."""

    def __init__(self, path: Path, file_field: str, text_fields: frozenset[str], largest: int) -> None:
        self.upload = Upload(path)
        self._text_fields = text_fields
        self._file_seen = False
        self.is_whole = False  # its closing boundary has come
        self.pending: list[memoryview] = []  # bytes of the file that are not written yet
        self.pending_bytes = 0
        self._file_field = file_field
        self._largest = largest
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._field: str | None = None
        self._value = bytearray()
        self._in_file = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._headers = {}
        self._value.clear()
        name = options.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in options
        self._in_file = is_file and name == self._file_field and not self._file_seen
        if self._in_file:
            self._file_seen = True
            self.upload.filename = safe_filename(options[b"filename"])
        elif name == self._file_field:
            problem = "Only one file may be sent" if is_file else "Must be sent as a file"
            raise not_valid(name, problem)
        elif name not in self._text_fields:
            raise self._unknown(name[:LONGEST_NAME] or "a field without a name", is_file=is_file)
        elif is_file:
            raise not_valid(name, "Must be sent as text")
        self._field = name if name in self._text_fields else None

    def _unknown(self, name: str, *, is_file: bool) -> ValidationFailed:
        if is_file and not self._file_seen:
            came = f"a file came as {name}"
            details = [{"field": self._file_field, "issue": f"Field required; {came}"}]
            return MissingRequiredField(f"Missing: {self._file_field}; {came}", details=details)
        known = ", ".join([self._file_field, *sorted(self._text_fields)])
        return not_valid(name, f"Unknown field; the form has {known}")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.upload.size += end - start
            if self.upload.size > self._largest:
                raise file_too_large(self._largest)
            self.pending.append(memoryview(data)[start:end])
            self.pending_bytes += end - start
        elif self._field is not None:
            self._value += data[start:end]
            if len(self._value) > LONGEST_FIELD:
                raise not_valid(self._field, "Too long")

    def on_part_end(self) -> None:
        if self._field is not None:
            self.upload.fields[self._field] = self._value.decode("utf-8", "replace")
        self._in_file = False

    def on_end(self) -> None:
        self.is_whole = True


def file_too_large(largest: int) -> TooLarge:
    """The error for a file above ``largest`` bytes."""
    limit = f"{largest / 1024**2:.0f} MB" if largest >= 1024**2 else f"{largest} bytes"
    return TooLarge(f"The file is larger than {limit}", details=[{"field": "file", "issue": f"Larger than {limit}"}])


async def receive(
    stream: AsyncIterator[bytes],
    content_type: str,
    folder: Path,
    *,
    file_field: str,
    text_fields: frozenset[str],
    largest: int,
    begun: Callable[[Path], None],
) -> Upload:
    """Stream a form into a new file in ``folder``, which the caller removes.

    ``begun`` is called, in a thread, when the first of a file is there that does not come at once.

    Raises TooLarge past ``largest`` bytes of file, ValidationFailed for what is no form or stalls, and as soon as a
    field of another name begins, MissingRequiredField without a file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        issue = "Send the file as multipart/form-data"
        raise ValidationFailed(issue, details=[{"field": "body", "issue": issue}])
    form = _Form(folder / "upload.mat", file_field, text_fields, largest)
    parser = MultipartParser(
        options[b"boundary"],
        {
            "on_header_field": form.on_header_field,
            "on_header_value": form.on_header_value,
            "on_header_end": form.on_header_end,
            "on_headers_finished": form.on_headers_finished,
            "on_part_data": form.on_part_data,
            "on_part_end": form.on_part_end,
            "on_end": form.on_end,
        },
    )
    with form.upload.path.open("xb") as file:
        await _fill(stream, parser, form, file, begun)
    if form.upload.filename is None:
        raise MissingRequiredField(f"Missing: {file_field}", details=[{"field": file_field, "issue": "Field required"}])
    return form.upload


@asynccontextmanager
async def parsing() -> AsyncIterator[Early]:
    """What begins to parse an upload while it arrives. Nothing is left of it at the end."""
    early = Early()
    try:
        yield early
    finally:
        with CancelScope(shield=True):
            await run_sync(early.end)


async def _fill(
    stream: AsyncIterator[bytes],
    parser: MultipartParser,
    form: _Form,
    file: IO[bytes],
    begun: Callable[[Path], None],
) -> None:
    def write() -> None:  # in a thread, while the event loop waits for it
        for piece in form.pending:
            file.write(piece)
        form.pending.clear()
        form.pending_bytes = 0

    def begin() -> None:
        write()
        begun(form.upload.path)

    try:
        write_some = begin
        async for chunk in without_stalling(stream, IDLE_S):
            parser.write(chunk)
            if form.pending_bytes >= WRITE_BYTES:
                await run_sync(write_some)
                write_some = write
    except FormParserError as error:
        raise unreadable_form() from error
    if not form.is_whole:
        raise unreadable_form()
    await run_sync(write)


async def without_stalling(stream: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """What arrives. Raises ValidationFailed (408) when nothing does for ``idle_s``: it would hold memory and a turn."""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            message = f"Nothing of the upload arrived for {idle_s:g} s"
            raise ValidationFailed(message, status=408, headers={"Connection": "close"}) from None
        if chunk is None:
            return
        yield chunk


def unreadable_form() -> ValidationFailed:
    """The error for a body that is no form, or ends before its end."""
    issue = "Not a readable multipart form"
    return ValidationFailed(issue, details=[{"field": "body", "issue": issue}])


def safe_filename(sent: bytes) -> str | None:
    """The name to show: no folders or control characters, at most 255 characters. None: nothing was chosen."""
    name = PureWindowsPath(sent.decode("utf-8", "replace")).name
    printable = "".join(character for character in name if character.isprintable()).strip()
    if len(printable) > LONGEST_NAME:
        stem, dot, suffix = printable.rpartition(".")
        ending = f"{dot}{suffix}" if dot and len(suffix) < 16 else ""
        printable = (stem if ending else printable)[: LONGEST_NAME - len(ending)] + ending
    return printable or None
