import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import scipy.io

from batteries.matfiles.errors import MatFileError, NoCycles, UnreadableFile
from batteries.samples import synthetic_cell, write_mat
from store import parser
from store.parser import CHECKOUT, RunningParser


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


@pytest.fixture
def parsing_does(tmp_path, monkeypatch):
    """Parsers that run this code instead of parsing; `beside` runs when their template starts."""

    def do(code: str, beside: str = "") -> None:
        package = tmp_path / "checkout" / "store"
        package.mkdir(parents=True)
        (tmp_path / "checkout" / "batteries").symlink_to(CHECKOUT / "batteries")
        for module in (CHECKOUT / "store").glob("*.py"):
            name = "as_it_is.py" if module.name == "parse_upload.py" else module.name
            (package / name).symlink_to(module)
        body = textwrap.indent(f"limit(2**30, order['cpu_s'], 2**30)\n{code}", "    ")
        (package / "parse_upload.py").write_text(
            f"{beside}\nfrom store.as_it_is import limit\n\ndef perform(order, connection):\n{body}\n"
        )
        monkeypatch.setattr(parser, "CHECKOUT", tmp_path / "checkout")

    monkeypatch.setattr(parser, "_templates", {})
    yield do
    for template in parser._templates.values():
        template.stop()


def told(settings, source: Path, folder: Path) -> dict[str, Any]:
    """What a parser that runs TELLS knows of itself."""
    known = json.loads(fails(settings, source, folder / "out", NoCycles))
    known["environment"] = dict(line.split("=", 1) for line in known["environment"] if line)
    return known


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


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


def arrived(mat: Path, folder: Path, share: float) -> Path:
    """The beginning of a file."""
    arriving, content = folder / "arriving.mat", mat.read_bytes()
    arriving.write_bytes(content[: int(share * len(content))])
    return arriving


def arrives(arriving: Path, mat: Path) -> None:
    """The rest of it."""
    with arriving.open("ab") as file:
        file.write(mat.read_bytes()[file.tell() :])


class TestWant:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.6, 1.0])
    def test_a_file_that_was_arriving_is_read_as_one_that_was_there(self, bare_home, mat, tmp_path, share):
        expected = parse(bare_home, mat, tmp_path / "a.parquet", nominal_capacity=1.5)
        arriving = arrived(mat, tmp_path, share)
        with RunningParser(bare_home, arriving) as running:
            arrives(arriving, mat)
            running.want(tmp_path / "b.parquet", nominal_capacity=1.5)
            assert running.result() == expected
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()

    def test_what_is_wrong_at_the_beginning_is_known_before_the_rest_has_arrived(self, bare_home, tmp_path, eventually):
        arriving = tmp_path / "x.mat"
        arriving.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
        with RunningParser(bare_home, arriving) as running:
            template = psutil.Process(parser.get_ready().process.pid)
            eventually(lambda: not template.children(), 30, "the end of the parser")
            running.want(tmp_path / "out")
            with pytest.raises(UnreadableFile, match="PNG"):
                running.result()

    def test_what_never_arrives_is_damaged(self, bare_home, mat, tmp_path):
        with RunningParser(bare_home, arrived(mat, tmp_path, 0.6)) as running:
            running.want(tmp_path / "out")
            with pytest.raises(UnreadableFile, match="damaged"):
                running.result()

    def test_it_begins_again_when_the_template_was_killed_before_all_had_arrived(self, bare_home, mat, tmp_path):
        arriving = arrived(mat, tmp_path, 0.6)
        with RunningParser(bare_home, arriving) as running:
            template = parser.get_ready().process
            template.kill()
            template.wait()
            arrives(arriving, mat)
            running.want(tmp_path / "out")
            assert running.result().total_cycles == 30

    def test_no_parser_is_left_when_the_rest_never_comes(self, bare_home, mat, tmp_path, eventually):
        template = psutil.Process(parser.get_ready().process.pid)
        with RunningParser(bare_home, arrived(mat, tmp_path, 0.6)):
            eventually(template.children, 20, "a parser at work")
        eventually(lambda: not template.children(), 5, "no parser left")


class TestLimits:
    def test_too_much_memory_is_a_clear_refusal(self, limited, tmp_path):
        source = tmp_path / "x.mat"
        settings = limited(parser_memory_bytes=180 * 1024**2)
        scipy.io.savemat(source, {"noise": np.zeros((5000, 5000))}, do_compression=True)
        assert "memory" in fails(settings, source, tmp_path / "out", MatFileError).lower()

    def test_the_memory_is_the_parsers_not_ours(self, bare_home, tmp_path):
        """Asked of a process of its own: in this one, other tests' threads take and give memory at any moment."""
        for name, cycles in (("small", 2), ("large", 1500)):
            write_mat(synthetic_cell(cycles=cycles), tmp_path / f"{name}.mat")
        program = tmp_path / "uploading.py"
        program.write_text(
            textwrap.dedent(
                """
                import re, sys
                from pathlib import Path
                from store.parser import RunningParser
                from store.settings import Settings

                def peak_kib():
                    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

                settings, folder = Settings.model_validate_json(sys.argv[1]), Path(sys.argv[2])
                for name in "small", "large":
                    before = peak_kib()
                    with RunningParser(settings, folder / f"{name}.mat", folder / name) as running:
                        running.result()
                print(1024 * (peak_kib() - before))
                """
            )
        )
        asked = subprocess.run(
            [sys.executable, str(program), bare_home.model_dump_json(), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert int(asked.stdout) < 3e6

    def test_too_much_computing_is_a_clear_refusal(self, limited, mat, tmp_path, parsing_does, monkeypatch):
        monkeypatch.setattr(parser, "WALL_CLOCK_FACTOR", 100)
        parsing_does("while True: pass")
        message = fails(limited(parser_cpu_s=1), mat, tmp_path / "out", UnreadableFile)
        assert message == "Reading the file takes more than 1 s of computing"

    def test_one_that_never_ends_is_killed_with_its_children(self, limited, mat, tmp_path, parsing_does):
        note = tmp_path / "child"
        parsing_does(
            "import subprocess, time\n"
            "child = subprocess.Popen(['sleep', '100'])\n"
            f"open({str(note)!r}, 'w').write(str(child.pid))\n"
            "time.sleep(100)"
        )
        started = time.monotonic()
        message = fails(limited(parser_cpu_s=1), mat, tmp_path / "out", UnreadableFile)
        assert message == "Reading the file takes longer than 3 s"
        assert time.monotonic() - started < 50
        assert has_ended(int(note.read_text()))

    def test_a_crash_is_an_unreadable_file(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does(f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})")
        assert "damaged" in fails(bare_home, mat, tmp_path / "out", UnreadableFile)

    def test_one_that_the_system_kills_took_too_much_memory(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
        message = fails(bare_home, mat, tmp_path / "out", UnreadableFile)
        assert "memory" in message
        assert "damaged" not in message

    def test_an_error_that_nobody_expected_is_an_unreadable_file(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does("raise ZeroDivisionError")
        assert "damaged" in fails(bare_home, mat, tmp_path / "out", UnreadableFile)

    def test_an_answer_without_end_is_refused(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does("return {'error': 'NoCycles', 'message': 'x' * 20_000_000}")
        assert "more names" in fails(bare_home, mat, tmp_path / "out", UnreadableFile)

    def test_no_secret_is_in_its_environment(self, bare_home, mat, tmp_path, parsing_does, monkeypatch):
        monkeypatch.setenv("BATTERY_SECRET_KEY", "x" * 40)
        parsing_does(TELLS)
        known = told(bare_home, mat, tmp_path)["environment"]
        assert "PATH" in known
        assert not [name for name in known if name.startswith("BATTERY_")]

    def test_it_dumps_no_core_opens_few_files_and_inherits_none(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does(TELLS)
        with RunningParser(bare_home, mat, tmp_path / "a"), RunningParser(bare_home, mat, tmp_path / "b"):
            known = told(bare_home, mat, tmp_path)
        assert (known["core"], known["files"]) == (0, 64)
        assert len(known["sockets"]) == 1
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 64


class TestTemplate:
    def test_parsers_are_forked_from_one_process_with_one_thread(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does(TELLS)
        first, second = told(bare_home, mat, tmp_path), told(bare_home, mat, tmp_path)
        template = parser.get_ready().process.pid
        assert first["parent"] == second["parent"] == template
        assert psutil.Process(template).num_threads() == 1

    def test_a_parser_imports_nothing_that_the_template_has_not(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does(
            "import json, sys; from store.as_it_is import Wanted, parse; known = set(sys.modules)\n"
            "parse(order, Wanted(order, connection))\n"
            "return {'error': 'NoCycles', 'message': json.dumps(sorted(set(sys.modules) - known))}"
        )
        assert json.loads(fails(bare_home, mat, tmp_path / "out", NoCycles)) == []

    def test_no_parser_is_left_when_its_order_is_given_up(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does("import time; time.sleep(100)")
        with RunningParser(bare_home, mat, tmp_path / "out"):
            pass
        assert not psutil.Process(parser.get_ready().process.pid).children()

    def test_it_reads_on_with_another_template_when_one_was_killed_while_parsing(self, bare_home, mat, tmp_path):
        with RunningParser(bare_home, mat, tmp_path / "out") as running:
            template = parser.get_ready().process
            template.kill()
            template.wait()
            assert running.result().total_cycles == 30
        assert parser.get_ready().process.pid != template.pid

    def test_it_reads_on_with_another_template_when_one_was_killed_before(self, bare_home, mat, tmp_path):
        parse(bare_home, mat, tmp_path / "a.parquet")
        os.kill(parser.get_ready().process.pid, signal.SIGKILL)
        assert parse(bare_home, mat, tmp_path / "b.parquet").total_cycles == 30

    def test_one_that_cannot_start_is_no_fault_of_the_file(self, bare_home, mat, tmp_path, parsing_does):
        parsing_does("", beside="raise ImportError")
        with pytest.raises(RuntimeError, match="does not run"):
            parse(bare_home, mat, tmp_path / "out")

    def test_it_and_its_parsers_end_when_their_owner_is_killed(self, mat, tmp_path, parsing_does, eventually):
        note = tmp_path / "parser"
        parsing_does(f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(100)")
        code = "from store import parser; from signal import pause; parser.CHECKOUT = parser.Path.cwd()\n"
        code += f"running = parser.RunningParser(parser.Settings(), parser.Path({str(mat)!r}), 'out'); pause()"
        with subprocess.Popen([sys.executable, "-c", code], cwd=parser.CHECKOUT) as owner:
            try:
                eventually(lambda: note.is_file() and note.read_text(), 30, "a parser at work")
                parsing = int(note.read_text())
                template = psutil.Process(parsing).ppid()
                assert psutil.Process(template).ppid() == owner.pid
            finally:
                owner.kill()
        eventually(lambda: has_ended(parsing) and has_ended(template), 10, "the end of the parser and its template")


TELLS = """
import json, os, resource
from pathlib import Path
opened = [Path("/proc/self/fd") / descriptor for descriptor in os.listdir("/proc/self/fd")]
known = {
    "environment": Path("/proc/self/environ").read_text().split(chr(0)),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "sockets": [str(path) for path in opened if path.is_socket()],
    "parent": os.getppid(),
}
return {"error": "NoCycles", "message": json.dumps(known)}
"""
