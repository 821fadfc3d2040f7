"""Pages of cycles that were written lately, by their entity tags: several people look at the same one."""

from collections import OrderedDict
from threading import Lock

MOST_BYTES = 4 * 1024 * 1024


class KeptPages:
    """Bodies by tag, those asked for last. A tag stands for all that a body is made of, so none is ever wrong."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, tag: str) -> bytes | None:
        """The body of this tag."""
        with self._lock:
            if tag in self._bodies:
                self._bodies.move_to_end(tag)
            return self._bodies.get(tag)

    def keep(self, tag: str, body: bytes) -> None:
        """Keep a body, unless it would take the place of many others; forget those not asked for the longest."""
        if len(body) > self._most_bytes // 4:
            return
        with self._lock:
            self._bytes += len(body) - len(self._bodies.pop(tag, b""))
            self._bodies[tag] = body
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._bodies.popitem(last=False)[1])
