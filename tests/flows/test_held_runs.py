import os
import signal
import subprocess
import sys

import pytest

from flows import held_runs

HOLD = "import time; from flows import held_runs\nwith held_runs.held('one'): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def other_process(home):
    """Another process that holds the run ``one``."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


class TestHeld:
    def test_a_run_of_a_living_process_is_not_lost_and_of_a_killed_one_is(self, other_process):
        assert held_runs.without_process() == []
        os.kill(other_process.pid, signal.SIGKILL)
        other_process.wait()
        assert held_runs.without_process() == ["one"]
        held_runs.put_away("one")
        assert held_runs.without_process() == []

    @pytest.mark.parametrize("status", [None, 0])
    def test_leaves_nothing_of_a_run_that_ended_well(self, home, status):
        with pytest.raises(SystemExit), held_runs.held("one"):
            sys.exit(status)
        with held_runs.held("two"):
            pass
        assert list(held_runs.folder().iterdir()) == []

    @pytest.mark.parametrize("end", [SystemExit(1), ConnectionError("Prefect is away")])
    def test_keeps_what_is_to_be_asked_of_one_that_did_not(self, home, end):
        with pytest.raises(type(end)), held_runs.held("one"):
            raise end
        assert held_runs.without_process() == ["one"]
