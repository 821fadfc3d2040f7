"""Memory goes back to the system, in a process of its own: the allocator is the process's."""

import subprocess
import sys

import pytest

from store.settings import CHECKOUT

PROGRAM = """
import ctypes, psutil
from api.memory import give_back, keep_small
keep_small()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(1000) for _ in range(60_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
last = libc.malloc(1000)  # in use: nothing below it is at the end of the heap
for block in blocks:
    libc.free(block)
before = psutil.Process().memory_info().rss
give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
class TestGiveBack:
    def test_returns_what_is_free_below_a_block_in_use(self) -> None:
        run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=CHECKOUT, capture_output=True, check=True)
        assert int(run.stdout) > 40_000_000
