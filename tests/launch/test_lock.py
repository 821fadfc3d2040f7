"""One stack a home."""

import os
import subprocess
import sys

import pytest

from launch import lock

POLL = """
import sys
from pathlib import Path
from launch.lock import holder_pid
print("polling", flush=True)
while True:
    holder_pid(Path(sys.argv[1]))
"""


class TestHeld:
    def test_a_second_holder_is_refused_with_the_first_ones_process(self, tmp_path):
        path = tmp_path / "lock"
        with lock.held(path), pytest.raises(lock.AlreadyRunning) as refused, lock.held(path):
            pass
        assert refused.value.pid == os.getpid()

    def test_asking_who_holds_it_keeps_nobody_out(self, tmp_path):
        path = tmp_path / "lock"
        path.touch()
        with subprocess.Popen([sys.executable, "-c", POLL, path], stdout=subprocess.PIPE) as polling:
            assert polling.stdout is not None
            polling.stdout.readline()
            try:
                for _ in range(300):
                    with lock.held(path):
                        pass
            finally:
                polling.kill()

    def test_its_holder_is_known_while_it_is_held_and_forgotten_after(self, tmp_path):
        path = tmp_path / "lock"
        assert lock.holder_pid(path) is None
        with lock.held(path):
            assert lock.holder_pid(path) == os.getpid()
        assert lock.holder_pid(path) is None
        assert path.read_text() == ""
