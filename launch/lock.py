"""One stack a home: a lock that the system gives back however its holder ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

CERTAIN_AFTER_S = 1.0
RETRY_S = 0.02


class AlreadyRunning(RuntimeError):
    """Another process holds the lock; ``pid`` is its id where it is known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


def lock_file(var: Path) -> Path:
    """Where the lock of a stack lies."""
    return var / "stack.lock"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock, with this process's id in the file. Raises AlreadyRunning."""
    with path.open("a+") as file:
        deadline = time.monotonic() + CERTAIN_AFTER_S  # `holder_pid` of another process has it for a moment
        while not taken(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRunning(read_pid(path))
            time.sleep(RETRY_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def taken(file: TextIO, kind: int) -> bool:
    """Whether a lock could be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_pid(path: Path) -> int | None:
    """Process that holds the lock now; None when nobody does."""
    if not path.exists():
        return None
    deadline = time.monotonic() + CERTAIN_AFTER_S  # its holder is about to write its id, or to give it back
    with path.open() as file:
        while not taken(file, fcntl.LOCK_SH):
            if (pid := read_pid(path)) is not None or time.monotonic() > deadline:
                return pid
            time.sleep(RETRY_S)
    return None


def read_pid(path: Path) -> int | None:
    """The process id in the file."""
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
