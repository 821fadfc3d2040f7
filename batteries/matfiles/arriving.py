"""A file that may still be written while it is read, as an upload is that arrives."""

import os
from collections.abc import Callable
from pathlib import Path

SHORTEST_S, LONGEST_S = 0.001, 0.1  # between two looks at a file that grows, and at one that does not


class Arriving:
    """Reads a file as far as it is there, and waits for what is not.

    `is_complete` waits so many seconds for the file's last byte, and says whether it has come.
    """

    def __init__(self, path: Path, is_complete: Callable[[float], bool] = lambda _: True) -> None:
        self.path = path
        self._is_complete = is_complete
        self._file = path.open("rb", buffering=0)
        self.complete = is_complete(0.0)
        self._size = self._size_now()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def has(self, end: int) -> bool:
        """Whether there are so many bytes in the file, which is waited for."""
        patience_s = SHORTEST_S
        while self._size < end and not self.complete:
            self.complete = self._is_complete(patience_s)
            before, self._size = self._size, self._size_now()  # in this order: the size is the last one then
            patience_s = SHORTEST_S if self._size > before else min(2 * patience_s, LONGEST_S)
        return self._size >= end

    def read(self, at: int, length: int) -> bytes:
        """So many bytes from a place on; fewer where the file ends before."""
        self.has(at + length)
        return os.pread(self._file.fileno(), length, at)

    def size(self) -> int:
        """Length of the whole file."""
        while not self.complete:
            self.has(self._size + 1)
        return self._size

    def _size_now(self) -> int:
        return os.fstat(self._file.fileno()).st_size
