"""One stack a home: a lock that the system gives back however its holder ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(read_pid(path)) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder_pid(path: Path) -> int | None:
    """Process that holds the lock now; None when nobody does."""
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read_pid(path)
    return None


def read_pid(path: Path) -> int | None:
    """The process id in the file."""
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
