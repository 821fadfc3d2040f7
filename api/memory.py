"""Memory that is given back: large answers must not leave the process as large as the largest one made it."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
LARGE_BYTES = 512 * 1024  # twice what the event loop reads at once: pieces of an upload are no pages of their own
FREE_BYTES = 2 * 1024**2  # at the end of the heap: twice what is gathered of an upload before it is written
ARENAS = 2


def keep_small() -> None:
    """Let the allocator return large blocks to the system at once; to be called before Arrow and threads are there.

    glibc raises its thresholds as blocks are freed and keeps an arena for each thread. Arrow keeps a pool of its own,
    whose pages stay with the process (80 MB after eight pages of cycles at once), unless it is told otherwise before
    it is loaded. Other C libraries have no ``mallopt`` and are left as they are.
    """
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, FREE_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return what lies free between blocks that are in use, as it does after a whole life was written.

    glibc returns by itself what is free at the end of its heap alone.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
