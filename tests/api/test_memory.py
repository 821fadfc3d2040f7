"""Memory goes back to the system, in a process of its own: the allocator is the process's."""

import subprocess
import sys

import pytest

from store.settings import CHECKOUT

START = """
import ctypes, psutil, resource
from api.memory import give_back, keep_small
keep_small()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    return psutil.Process().memory_info().rss
def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
"""
HOLES = """
blocks = [libc.malloc(1000) for _ in range(60_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
last = libc.malloc(1000)  # in use: nothing below it is at the end of the heap
for block in blocks:
    libc.free(block)
before = resident()
give_back()
print(before - resident())
"""
LARGE = """
before = resident()
block = libc.malloc(30_000_000)
ctypes.memset(block, 1, 30_000_000)
libc.free(block)
print(resident() - before)
"""
PIECES = """
def gather():
    pieces = [libc.malloc(256 * 1024) for _ in range(5)]
    for piece in pieces:
        ctypes.memset(piece, 1, 256 * 1024)
    for piece in pieces:
        libc.free(piece)
gather()
before = page_faults()
for _ in range(20):
    gather()
print(page_faults() - before)
"""


def said_by(program: str) -> int:
    """The number that a process prints after ``keep_small``."""
    run = subprocess.run([sys.executable, "-c", START + program], cwd=CHECKOUT, capture_output=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
class TestKeepSmall:
    def test_a_large_block_goes_back_when_it_is_freed(self) -> None:
        assert said_by(LARGE) < 1_000_000

    def test_pieces_of_an_upload_take_no_new_pages_once_there_were_some(self) -> None:
        assert said_by(PIECES) < 20 * 5 * 64 / 10  # of the 64 pages that each has


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
class TestGiveBack:
    def test_returns_what_is_free_below_a_block_in_use(self) -> None:
        assert said_by(HOLES) > 40_000_000
