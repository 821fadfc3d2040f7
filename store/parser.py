"""Runs parsers of uploads: each in a process of its own with limits, and never longer than it may.

They are forked from a template (``store.parser_template``) that has imported everything, which takes ten times as long
as forking. There is one for this process, started when it is first needed, and again when it has died.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from batteries.matfiles.errors import MatFileError, NoCycles, SeveralCells, UnreadableFile
from store.settings import CHECKOUT, Settings

log = logging.getLogger(__name__)

WALL_CLOCK_FACTOR = 3  # a parser that waits (for the disk, for a processor) may take this much longer than its CPU time
LARGEST_OUTPUT = 4 * 1024**3
LARGEST_ANSWER = 16 * 1024**2
READ_BYTES = 64 * 1024
KILL_S = 30
NO_TEMPLATE = "the process that parsers are forked from does not run"
DAMAGED = "The file is damaged or of a kind that cannot be read"
KILLED = "Reading the file was ended by the system: it takes more memory than there is now, most likely"
ERRORS: dict[str, type[MatFileError]] = {"UnreadableFile": UnreadableFile, "NoCycles": NoCycles}
# No secret of ours is in the parser's environment, and its linear algebra takes one thread: processes with more than
# one are not forked safely, and address space is limited.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Memory that is given back is asked for again a moment later: half of the page faults were that.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(1024**3),
    "MALLOC_TOP_PAD_": str(16 * 1024**2),
    "MALLOC_ARENA_MAX": "1",  # none of its own for the thread that writes: that takes address space and page faults
}
INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True)
class Parsed:
    """What a parser found; the Parquet file lies where it was asked for."""

    total_cycles: int
    nominal_capacity: float | None  # Ah, in force
    nominal_capacity_source: str  # given, layout, early cycles, unknown
    layout_nominal_capacity: float | None
    misjudged_capacity: float | None  # Ah, of the cycles, where the given nominal capacity is far off all of them
    layout: str
    cell: str | None
    manufacturer: str | None
    chemistry: str | None
    report: dict[str, Any]


class Template:
    """The process that parsers are forked from. It ends when this one does, however that ends."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "store.parser_template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=CHECKOUT,
                env=ENVIRONMENT | {name: os.environ[name] for name in INHERITED if name in os.environ},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def give(self, order: bytes) -> socket.socket:
        """The socket over which a new parser answers. Raises OSError when the template is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._orders, [order], [theirs.fileno()])
        return ours

    def stop(self) -> None:
        """End it with its parsers, and wait until it is gone."""
        self._orders.close()
        self.process.kill()
        self.process.wait()


_templates: dict[int, Template] = {}  # by the process that owns them: after a fork each has its own
_starting = threading.Lock()


def get_ready() -> Template:
    """Start the template unless it is there, without waiting for it: so that it is ready when an upload has arrived."""
    with _starting:
        template = _templates.get(os.getpid())
        if template is None or not template.is_alive:
            if template is not None:
                template.stop()
            template = _templates[os.getpid()] = Template()
        return template


class RunningParser:
    """A parser at work. ``result`` waits for it; leaving the context kills whatever is left of it.

    Without a ``target`` the file may still be arriving, and ``want`` says when it has come and what is wanted of it.
    """

    def __init__(
        self,
        settings: Settings,
        source: Path,
        target: Path | None = None,
        *,
        nominal_capacity: float | None = None,
        layout_nominal_capacity: float | None = None,
        cell: int | None = None,
        kind: str = "mat",
    ) -> None:
        self._cpu_s = settings.parser_cpu_s
        self._order: dict[str, Any] = {
            "kind": kind,
            "source": str(source),
            "memory_bytes": settings.parser_memory_bytes,
            "cpu_s": settings.parser_cpu_s,
            "file_bytes": LARGEST_OUTPUT,
        }
        if target is not None:
            self._order["wanted"] = wanted(target, nominal_capacity, layout_nominal_capacity, cell)
        self._connection = self._begin()

    def want(self, target: Path, *, nominal_capacity: float | None = None, cell: int | None = None) -> None:
        """Say that the file has arrived, and what is wanted of it."""
        self._order["wanted"] = wanted(target, nominal_capacity, None, cell)
        with contextlib.suppress(OSError):  # it has ended already; ``result`` says why
            self._connection.sendall(json.dumps(self._order["wanted"]).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self) -> socket.socket:
        self._template = get_ready()
        try:
            return self._template.give(json.dumps(self._order).encode())
        except OSError:  # it was killed a moment ago
            return self._begin_again()

    def _begin_again(self) -> socket.socket:
        self._template.stop()
        self._template = get_ready()
        try:
            return self._template.give(json.dumps(self._order).encode())
        except OSError as error:
            raise RuntimeError(NO_TEMPLATE) from error

    def result(self) -> Parsed:
        """What was found. Raises UnreadableFile, NoCycles or SeveralCells; the message says what is wrong."""
        ends = time.monotonic() + self._cpu_s * WALL_CLOCK_FACTOR
        output, status = self._wait(ends)
        if status is None:  # the template was killed and its parsers with it: no fault of the file
            self._connection = self._begin_again()
            output, status = self._wait(ends)
        if status is None:
            raise RuntimeError(NO_TEMPLATE)
        if status != 0:
            raise self._crashed(status)
        answer: dict[str, Any] = json.loads(output)
        if "error" in answer:
            raise refusal(answer)
        return Parsed(**answer)

    def _wait(self, ends: float) -> tuple[bytes, int | None]:
        """What the parser said and its exit status, None when nobody is left to say it."""
        said = bytearray()
        while True:
            left = ends - time.monotonic()
            try:
                self._connection.settimeout(max(left, 1e-3))
                received = self._connection.recv(READ_BYTES)
            except TimeoutError:
                self.stop()
                seconds = self._cpu_s * WALL_CLOCK_FACTOR
                raise UnreadableFile(f"Reading the file takes longer than {seconds} s") from None
            except ConnectionResetError:
                received = b""
            said += received
            if not received:
                break
            if len(said) > LARGEST_ANSWER:
                raise UnreadableFile("The file holds more names than can be told")
        self._connection.close()
        output, newline, status = bytes(said).rpartition(b"\n")
        return output, int(status) if newline else None

    def _crashed(self, status: int) -> UnreadableFile:
        if status == -signal.SIGXCPU:
            return UnreadableFile(f"Reading the file takes more than {self._cpu_s} s of computing")
        log.error("The parser of an upload ended with status %s", status)
        # We ask no parser that we killed: this is what the kernel does when memory is out.
        return UnreadableFile(KILLED if status == -signal.SIGKILL else DAMAGED)

    def stop(self) -> None:
        """Give the order up and wait until the parser is gone, so that it writes no more."""
        with self._connection as connection:
            if connection.fileno() < 0:
                return
            connection.settimeout(KILL_S)
            try:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(READ_BYTES):
                    pass
            except OSError:  # the template is gone, and its parsers with it
                return


def wanted(
    target: Path, nominal_capacity: float | None, layout_nominal_capacity: float | None, cell: int | None
) -> dict[str, Any]:
    """What is wanted of a file, as parsers are told."""
    return {
        "target": str(target),
        "nominal_capacity": nominal_capacity,
        "layout_nominal_capacity": layout_nominal_capacity,
        "cell": cell,
    }


def refusal(answer: dict[str, Any]) -> MatFileError:
    """The parser's answer as the exception that it met."""
    if answer["error"] == "SeveralCells":
        return SeveralCells(answer["message"], tuple(answer["cells"]))
    return ERRORS.get(answer["error"], UnreadableFile)(answer["message"])
