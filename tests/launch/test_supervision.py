"""supervisord with a small part of its own: a web server that has a child process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from launch import lock, processes
from launch.environment import stack_environment
from launch.log_writer import Lines
from launch.parts import Part
from launch.stack import stop
from launch.start import last_lines
from launch.supervision import Supervisor, log_file, socket_path, start_supervisor
from store.settings import Settings

# Prints its child's process id, then waits; the child ignores SIGTERM, so that only SIGKILL ends it.
PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']);"
    "print('100% ready, child', child.pid, flush=True); time.sleep(600)"
)
PART = Part(name="part", title="Part", command=(sys.executable, "-c", PARENT), order=1, stop_s=2)
# Starts supervisord with that part and waits, as `battery up` does.
UP = """
import time
from pathlib import Path
from launch.environment import stack_environment
from launch.parts import Part
from launch.supervision import Supervisor, start_supervisor
from store.settings import Settings
settings = Settings(home=Path({home!r}))
part = Part(name="part", title="Part", command={command!r}, order=1, stop_s=2)
start_supervisor(settings, [part], stack_environment(settings))
Supervisor(settings.var).start("part")
time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path):
    """A home whose path has what configuration files trip over; its processes are ended afterwards."""
    home = tmp_path / "100% of a lab's home"
    home.mkdir()
    yield Settings(home=home)
    processes.kill(processes.marked(home))


@pytest.fixture
def supervised(settings, eventually):
    """supervisord, with the part and its child alive."""
    process = start_supervisor(settings, [PART], stack_environment(settings))
    Supervisor(settings.var).start("part")
    eventually(lambda: len(processes.marked(settings.home)) == 4, 20, "supervisor, log writer, part, child")
    yield process
    process.kill()
    process.wait()


def state(settings):
    return Supervisor(settings.var).states()["part"]


class TestRespawn:
    def test_a_part_that_is_killed_comes_back(self, settings, supervised, eventually):
        assert supervised.poll() is None
        before = state(settings).pid
        os.kill(before, signal.SIGKILL)
        eventually(lambda: state(settings).pid not in {0, before}, 20, "the part with another process id")


class TestStop:
    def test_it_leaves_no_process_even_one_that_ignores_sigterm(self, settings, supervised):
        stop(settings, supervised)
        assert supervised.poll() is not None
        assert processes.marked(settings.home) == []

    def test_the_parts_end_when_the_starter_is_killed_and_the_next_start_ends_the_stubborn(self, settings, eventually):
        source = UP.format(home=str(settings.home), command=PART.command)
        with subprocess.Popen([sys.executable, "-c", source]) as up:
            eventually(lambda: len(processes.marked(settings.home)) == 4, 20, "everything was started")
            up.kill()
        eventually(lambda: len(processes.marked(settings.home)) == 1, 30, "only what ignores SIGTERM is left")
        assert processes.end_left_over(settings.home) == 1
        assert processes.marked(settings.home) == []

    def test_what_a_killed_supervisor_left_is_ended(self, settings, supervised):
        supervised.kill()
        supervised.wait()
        assert processes.marked(settings.home), "the part outlives its supervisor"
        assert processes.end_left_over(settings.home) >= 2
        assert processes.marked(settings.home) == []

    def test_processes_of_another_home_are_left_alone(self, settings, supervised):
        other = settings.home.parent / "another"
        assert processes.end_left_over(other) == 0
        assert supervised.poll() is None
        assert psutil.pid_exists(state(settings).pid)


class TestLog:
    def test_lines_carry_their_part(self, settings, supervised, eventually):
        assert supervised.poll() is None
        log = log_file(settings.var)
        eventually(lambda: last_lines(log, "part"), 10, "the part's output is in the log")
        assert last_lines(log, "part")[0].startswith("100% ready, child ")

    def test_only_its_owner_reads_it(self, settings, supervised):
        assert supervised.poll() is None
        assert settings.var.stat().st_mode & 0o777 == 0o700
        assert log_file(settings.var).parent.stat().st_mode & 0o777 == 0o700

    def test_pieces_become_whole_lines_part_by_part(self):
        lines = Lines()
        assert lines.take("PROCESS_LOG_STDOUT", "processname:a groupname:a pid:1 channel:stdout\none\ntw") == [
            "a        | one"
        ]
        assert lines.take("PROCESS_LOG_STDOUT", "processname:b groupname:b pid:2 channel:stdout\nother\n") == [
            "b        | other"
        ]
        assert lines.take("PROCESS_LOG_STDOUT", "processname:a groupname:a pid:1 channel:stdout\no\n") == [
            "a        | two"
        ]

    def test_an_unfinished_line_is_kept_when_its_part_ends(self):
        lines = Lines()
        lines.take("PROCESS_LOG_STDOUT", "processname:a groupname:a pid:1 channel:stdout\nlast words")
        ended = lines.take("PROCESS_STATE_EXITED", "processname:a groupname:a from_state:RUNNING expected:0 pid:1")
        assert ended == ["a        | last words", "a        | (exited, pid 1)"]


class TestStatus:
    def test_a_stack_started_with_other_settings_is_shown_as_it_is(self, settings, supervised):
        assert supervised.poll() is None
        with lock.held(lock.lock_file(settings.var)):
            shown = subprocess.run(
                [sys.executable, "-m", "launch", "status"],
                env=stack_environment(settings),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert shown.returncode == 1, shown.stderr
        assert "not part of it" in shown.stdout


class TestSocket:
    def test_a_long_home_gets_a_short_socket_of_its_own(self, tmp_path):
        long, other = tmp_path / ("a" * 120) / "var", tmp_path / ("b" * 120) / "var"
        assert len(os.fsencode(socket_path(long))) <= 100
        assert socket_path(long) != socket_path(other)

    def test_a_short_home_keeps_it_in_var(self):
        assert socket_path(Path("/srv/battery/var")) == Path("/srv/battery/var/supervisor.sock")
