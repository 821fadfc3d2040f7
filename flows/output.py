"""Standard output of a process whose reader, the worker, may die first."""

import io
import sys
from typing import Any


class Forsaken(io.FileIO):
    """A descriptor that takes what nobody reads any more."""

    def write(self, data: Any) -> int:
        """As a file does; what cannot be delivered counts as written."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def outlive_reader() -> None:
    """Keep what is printed from ending this process.

    Prefect prints logs with rich, whose consoles raise SystemExit when a pipe breaks: a worker that was killed would
    take the training of its jobs with it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = Forsaken(stream.fileno(), "w", closefd=False)
        encoding = {"encoding": stream.encoding, "errors": stream.errors}
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True, **encoding))
