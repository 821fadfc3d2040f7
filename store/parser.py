"""Runs the process that parses uploads: with limits, in a process group of its own, and never longer than it may."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from batteries.matfiles.errors import MatFileError, NoCycles, SeveralCells, UnreadableFile
from store.parse_upload import REFUSED
from store.settings import CHECKOUT, Settings

log = logging.getLogger(__name__)

WALL_CLOCK_FACTOR = 3  # a parser that waits (for the disk, for a processor) may take this much longer than its CPU time
LARGEST_OUTPUT = 4 * 1024**3
ERRORS: dict[str, type[MatFileError]] = {"UnreadableFile": UnreadableFile, "NoCycles": NoCycles}
# No secret of ours is in the parser's environment, and its linear algebra takes one thread (address space is limited).
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True)
class Parsed:
    """What a parser found; the Parquet file lies where it was asked for."""

    total_cycles: int
    nominal_capacity: float | None  # Ah, in force
    nominal_capacity_source: str  # given, layout, early cycles, unknown
    layout_nominal_capacity: float | None
    layout: str
    cell: str | None
    manufacturer: str | None
    chemistry: str | None
    report: dict[str, Any]  # Report.as_dict()


class RunningParser:
    """A parser at work. ``result`` waits for it; leaving the context kills whatever is left of it."""

    def __init__(
        self,
        settings: Settings,
        source: Path,
        target: Path,
        *,
        nominal_capacity: float | None = None,
        layout_nominal_capacity: float | None = None,
        cell: int | None = None,
        kind: str = "mat",
    ) -> None:
        self._settings = settings
        order = {
            "kind": kind,
            "source": str(source),
            "target": str(target),
            "cell": cell,
            "nominal_capacity": nominal_capacity,
            "layout_nominal_capacity": layout_nominal_capacity,
            "memory_bytes": settings.parser_memory_bytes,
            "cpu_s": settings.parser_cpu_s,
            "file_bytes": LARGEST_OUTPUT,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "store.parse_upload"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=CHECKOUT,
            env=ENVIRONMENT | {name: os.environ[name] for name in INHERITED if name in os.environ},
            start_new_session=True,
        )
        self._give(order)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _give(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it died at once: result() says why
            self._process.stdin.write(json.dumps(order).encode())
            self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> Parsed:
        """What was found. Raises UnreadableFile, NoCycles or SeveralCells; the message says what is wrong."""
        seconds = self._settings.parser_cpu_s * WALL_CLOCK_FACTOR
        try:
            output, errors = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            raise UnreadableFile(f"Reading the file takes longer than {seconds} s") from None
        if self._process.returncode not in {0, REFUSED}:
            raise self._crashed(errors)
        answer: dict[str, Any] = json.loads(output)
        if "error" in answer:
            raise refusal(answer)
        return Parsed(**answer)

    def _crashed(self, errors: bytes) -> UnreadableFile:
        status = self._process.returncode
        last_lines = errors.decode(errors="replace")[-4000:]
        if status == -signal.SIGXCPU:
            return UnreadableFile(f"Reading the file takes more than {self._settings.parser_cpu_s} s of computing")
        log.error("The parser of an upload ended with status %s\n%s", status, last_lines)
        return UnreadableFile("The file is damaged or of a kind that cannot be read")

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def refusal(answer: dict[str, Any]) -> MatFileError:
    """The parser's answer as the exception that it met."""
    if answer["error"] == "SeveralCells":
        return SeveralCells(answer["message"], tuple(answer["cells"]))
    return ERRORS.get(answer["error"], UnreadableFile)(answer["message"])
