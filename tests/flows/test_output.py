"""A process of a flow run goes on when its worker is killed and nobody reads what it prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# Prints once its reader is gone, with rich as Prefect does, and then does its work.
SOURCE = """
import sys
from pathlib import Path
if {outlives}:
    from flows.output import outlive_reader
    outlive_reader()
from rich.console import Console
sys.stdin.read()
for stream in (sys.stdout, sys.stderr):
    Console(file=stream).print("Epoch 1")
    print("Epoch 2", file=stream, flush=True)
Path({done!r}).write_text("trained")
"""


@pytest.mark.parametrize("outlives", [True, False])
def test_a_broken_pipe_ends_only_a_process_that_does_not_outlive_its_reader(tmp_path, outlives):
    done = tmp_path / "done"
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SOURCE.format(outlives=outlives, done=str(done))],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.close(reader)
    process.communicate(timeout=60)
    assert done.exists() == outlives
    assert (process.returncode == 0) == outlives


def test_what_is_read_arrives(tmp_path):
    source = SOURCE.format(outlives=True, done=str(tmp_path / "done"))
    told = subprocess.run(
        [sys.executable, "-c", source], cwd=CHECKOUT, input=b"", capture_output=True, timeout=60, check=True
    )
    assert (told.stdout, told.stderr) == (b"Epoch 1\nEpoch 2\n",) * 2
