import resource
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import scipy.io

from batteries.matfiles.errors import MatFileError, NoCycles, UnreadableFile
from batteries.samples import synthetic_cell, write_mat
from store import parser
from store.parser import RunningParser


@pytest.fixture
def limited(bare_home):
    """Settings with other limits."""

    def do(**limits):
        return bare_home.model_copy(update=limits)

    return do


def parse(settings, source: Path, target: Path, **order) -> parser.Parsed:
    with RunningParser(settings, source, target, **order) as running:
        return running.result()


def fails(settings, source: Path, target: Path, error: type[MatFileError]) -> str:
    with pytest.raises(error) as caught:
        parse(settings, source, target)
    return str(caught.value)


class TestResult:
    def test_says_what_was_found_and_leaves_the_cycles(self, bare_home, mat, tmp_path):
        parsed = parse(bare_home, mat, tmp_path / "out.parquet")
        assert parsed.total_cycles == 30
        assert parsed.nominal_capacity == pytest.approx(1.1, rel=0.1)
        assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 30

    def test_the_given_nominal_capacity_counts_before_the_layouts(self, bare_home, nasa, tmp_path):
        source = nasa("B0050")
        layout = parse(bare_home, source, tmp_path / "a.parquet")
        assert (layout.nominal_capacity, layout.nominal_capacity_source) == (2.0, "layout")
        given = parse(bare_home, source, tmp_path / "b.parquet", nominal_capacity=1.5)
        assert (given.nominal_capacity, given.nominal_capacity_source) == (1.5, "given")
        assert given.layout_nominal_capacity == 2.0

    def test_a_file_that_is_none_is_unreadable(self, bare_home, tmp_path):
        source = tmp_path / "x.mat"
        source.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
        fails(bare_home, source, tmp_path / "out", UnreadableFile)

    def test_a_file_without_cycles_is_said_to_have_none(self, bare_home, tmp_path):
        source = tmp_path / "x.mat"
        scipy.io.savemat(source, {"weather": np.arange(10.0)})
        fails(bare_home, source, tmp_path / "out", NoCycles)


class TestLimits:
    def test_too_much_memory_is_a_clear_refusal(self, limited, tmp_path):
        source = tmp_path / "x.mat"
        settings = limited(parser_memory_bytes=180 * 1024**2)
        scipy.io.savemat(source, {"noise": np.zeros((5000, 5000))}, do_compression=True)
        assert "memory" in fails(settings, source, tmp_path / "out", MatFileError).lower()

    def test_the_memory_is_the_parsers_not_ours(self, bare_home, tmp_path):
        source = tmp_path / "x.mat"
        write_mat(synthetic_cell(cycles=1500), source)
        parse(bare_home, source, tmp_path / "first.parquet")
        before = psutil.Process().memory_info().rss
        parse(bare_home, source, tmp_path / "out.parquet")
        assert psutil.Process().memory_info().rss - before < 3e6

    def test_too_much_computing_is_a_clear_refusal(self, limited, mat, tmp_path, monkeypatch):
        endless(tmp_path, monkeypatch, "while True: pass")
        message = fails(limited(parser_cpu_s=1), mat, tmp_path / "out", UnreadableFile)
        assert message == "Reading the file takes more than 1 s of computing"

    def test_one_that_never_ends_is_killed_with_its_children(self, limited, mat, tmp_path, monkeypatch):
        note = tmp_path / "child"
        code = (
            "import subprocess, time\n"
            "child = subprocess.Popen(['sleep', '100'])\n"
            f"open({str(note)!r}, 'w').write(str(child.pid))\n"
            "time.sleep(100)"
        )
        endless(tmp_path, monkeypatch, code)
        started = time.monotonic()
        message = fails(limited(parser_cpu_s=1), mat, tmp_path / "out", UnreadableFile)
        assert message == "Reading the file takes longer than 3 s"
        assert time.monotonic() - started < 50
        child = int(note.read_text())
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    def test_a_crash_is_an_unreadable_file(self, bare_home, mat, tmp_path, monkeypatch):
        endless(tmp_path, monkeypatch, f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})")
        assert "damaged" in fails(bare_home, mat, tmp_path / "out", UnreadableFile)

    def test_no_secret_is_in_its_environment(self, bare_home, mat, tmp_path, monkeypatch):
        monkeypatch.setenv("BATTERY_SECRET_KEY", "x" * 40)
        with RunningParser(bare_home, mat, tmp_path / "out") as running:
            environment = psutil.Process(running._process.pid).environ()
            running.result()
        assert not [name for name in environment if name.startswith("BATTERY_")]

    def test_it_dumps_no_core_and_opens_few_files(self, bare_home, mat, tmp_path, monkeypatch):
        note = tmp_path / "limits"
        code = (
            "import resource, pathlib; from store.parse_upload import limit; limit(10**9, 10, 10**9)\n"
            "limits = [resource.getrlimit(getattr(resource, n))[0] for n in ('RLIMIT_CORE', 'RLIMIT_NOFILE')]\n"
            f"pathlib.Path({str(note)!r}).write_text(str(limits))"
        )
        real = parser.CHECKOUT
        endless(tmp_path, monkeypatch, f"import sys; sys.path[0] = {str(real)!r}; del sys.modules['store']\n{code}")
        with pytest.raises(ValueError, match="Expecting value"):
            parse(bare_home, mat, tmp_path / "out")
        assert note.read_text() == "[0, 64]"
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 64


def endless(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run ``code`` where the parser would run, after the real one's limit on computing."""
    package = folder / "checkout" / "store"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    limit = "import resource, sys, json\ncpu = json.load(sys.stdin)['cpu_s']\n"
    limit += "resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))\n"
    (package / "parse_upload.py").write_text(limit + code)
    monkeypatch.setattr(parser, "CHECKOUT", folder / "checkout")
