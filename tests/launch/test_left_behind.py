"""What a killed part leaves in its process group, and the command that is Prefect's server."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from launch.processes import kill_group
from launch.stack import left_behind
from launch.supervision import State

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
time.sleep(300)
"""


def state(pid: int) -> State:
    return State("part", "RUNNING" if pid else "BACKOFF", pid, 0.0)


class TestLeftBehind:
    @pytest.mark.parametrize(("before", "now", "left"), [(7, 7, False), (7, 0, True), (7, 8, True), (0, 8, False)])
    def test_is_so_once_the_first_process_is_gone(self, before, now, left):
        assert left_behind(state(before), state(now)) == left


class TestKillGroup:
    def test_ends_what_a_killed_leader_had_started(self, eventually):
        leader = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True, process_group=0)
        child = psutil.Process(int(leader.stdout.readline()))
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait()
        assert child.is_running()
        kill_group(leader.pid)
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "the child ended")
        kill_group(leader.pid)  # nothing is left: no matter


class TestPrefectServer:
    def test_is_prefects_own_command(self):
        command = [sys.executable, "-m", "launch.prefect_server", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert shown.returncode == 0
        assert "Start a Prefect server" in shown.stdout
