"""``./battery`` itself, in a folder that has only what it needs and with interpreters that stand in for real ones.

A real installation takes minutes and a package index; here ``pip`` is a script that notes that it was called.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from launch import cli

CHECKOUT = Path(__file__).resolve().parents[2]
COREUTILS = ("sh", "dirname", "readlink", "cat", "cksum")
# `-m pip install` notes the call, waits as long as `slow` says, and fails where `broken` lies.
PIP = """#!/bin/sh
root={root}
case "$*" in
  *"pip --version"*) exit 0 ;;
  *" install "*)
    echo "$*" >> "$root/installed.log"
    echo "Collecting something"
    if [ -e "$root/slow" ]; then sleep "$(cat "$root/slow")"; fi
    if [ -e "$root/broken" ]; then echo "ERROR: no matching distribution"; exit 1; fi
    exit 0 ;;
  *) printf '%s\\n' "$PWD" "$@" ;;
esac
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout in small, with a `.venv` whose Python is the stand-in."""
    root = tmp_path / "check out"
    (root / "launch").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in ("battery", "requirements.lock", "pyproject.toml", "launch/install.py"):
        shutil.copy(CHECKOUT / name, root / name)
    executable(root / ".venv" / "bin" / "python", PIP.format(root=f"'{root}'"))
    return root


def run(root: Path, *arguments: str, path: str | None = None, cwd: Path | None = None, script: Path | None = None):
    return subprocess.run(
        [script or root / "battery", *arguments],
        env=os.environ | ({"PATH": path} if path is not None else {}),
        cwd=cwd or root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def path_without_python(folder: Path) -> Path:
    folder.mkdir()
    for name in COREUTILS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def installations(root: Path) -> list[str]:
    log = root / "installed.log"
    return log.read_text().splitlines() if log.exists() else []


class TestInterpreter:
    def test_without_python_one_line_says_what_to_install(self, root, tmp_path):
        answer = run(root, "status", path=str(path_without_python(tmp_path / "bin")))
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert "apt-get install python3.11 python3.11-venv" in answer.stderr

    def test_another_version_is_not_taken(self, root, tmp_path):
        folder = path_without_python(tmp_path / "bin")
        executable(folder / "python3", "#!/bin/sh\necho False\n")
        answer = run(root, "status", path=str(folder))
        assert answer.returncode == 1
        assert "Python 3.11 was not found" in answer.stderr

    def test_without_venv_one_line_names_the_package(self, root, tmp_path):
        folder = path_without_python(tmp_path / "bin")
        executable(folder / "python3.11", '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) echo True ;; esac\n')
        answer = run(root, "status", path=str(folder))
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert "apt-get install python3.11-venv" in answer.stderr


class TestInstallation:
    def test_the_lock_is_pips_constraints(self, root):
        assert run(root, "status").returncode == 0
        (call,) = installations(root)
        assert f"-c {root}/requirements.lock -e {root}" in call

    def test_a_second_call_installs_nothing(self, root):
        run(root, "status")
        again = run(root, "status")
        assert again.returncode == 0
        assert len(installations(root)) == 1
        assert again.stderr == ""

    @pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
    def test_a_changed_lock_or_project_installs_again(self, root, changed):
        run(root, "status")
        with (root / changed).open("a") as file:
            file.write("\n# another release\n")
        run(root, "status")
        assert len(installations(root)) == 2

    def test_a_moved_folder_installs_again(self, root):
        run(root, "status")
        moved = root.rename(root.parent / "moved")
        executable(moved / ".venv" / "bin" / "python", PIP.format(root=f"'{moved}'"))
        run(moved, "status")
        assert len(installations(moved)) == 2

    def test_a_failed_one_says_why_and_is_done_again(self, root):
        (root / "broken").touch()
        failed = run(root, "status")
        assert failed.returncode == 1
        assert "ERROR: no matching distribution" in failed.stderr
        assert "install.log" in failed.stderr
        (root / "broken").unlink()
        assert run(root, "status").returncode == 0
        assert len(installations(root)) == 2

    def test_an_interrupted_one_is_finished_next_time(self, root, eventually):
        (root / "slow").write_text("60")
        with subprocess.Popen([root / "battery", "status"], cwd=root, start_new_session=True) as first:
            eventually(lambda: installations(root), 20, "pip was started")
            os.killpg(first.pid, signal.SIGKILL)
        assert not (root / ".venv" / "installed").exists()
        (root / "slow").unlink()
        assert run(root, "status").returncode == 0
        assert len(installations(root)) == 2

    def test_two_at_once_install_once(self, root, eventually):
        (root / "slow").write_text("2")
        with subprocess.Popen([root / "battery", "status"], cwd=root) as first:
            eventually(lambda: installations(root), 20, "pip was started")
            second = run(root, "status")
            assert first.wait(20) == 0
        assert second.returncode == 0
        assert "waiting for another installation" in second.stderr
        assert len(installations(root)) == 1


class TestHelp:
    @pytest.mark.parametrize("asked", [[], ["-h"], ["--help"]])
    def test_before_the_installation_it_is_there_at_once_and_installs_nothing(self, root, asked):
        answer = run(root, *asked)
        assert answer.returncode == 0
        assert installations(root) == []
        listed = {line.split()[0] for line in answer.stdout.splitlines() if line.startswith("  ")}
        commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
        groups = {group.name for group in cli.app.registered_groups}
        assert listed == commands | groups

    def test_afterwards_the_command_line_answers(self, root):
        run(root, "status")
        assert run(root, "--help").stdout.splitlines()[-2:] == ["launch", "--help"]


class TestCommandLine:
    def test_a_symlink_from_another_folder_keeps_the_callers_folder(self, root, tmp_path):
        elsewhere = tmp_path / "else where"
        elsewhere.mkdir()
        (elsewhere / "first").symlink_to(root / "battery")
        (elsewhere / "second").symlink_to("first")
        answer = run(root, "demo", "my file.mat", cwd=elsewhere, script=elsewhere / "second")
        assert answer.stdout.splitlines() == [str(elsewhere), "-P", "-m", "launch", "demo", "my file.mat"]

    def test_test_installs_its_extra_and_hands_its_arguments_on(self, root, tmp_path):
        answer = run(root, "test", "tests/store", "-k", "a b", cwd=tmp_path)
        assert answer.stdout.splitlines()[1:] == ["-P", "-m", "launch", "test", "tests/store", "-k", "a b"]
        assert f"-e {root}[test]" in installations(root)[0]
        run(root, "status")
        assert len(installations(root)) == 1, "the test installation holds everything else too"
