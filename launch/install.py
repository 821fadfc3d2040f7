"""Makes ``.venv`` from the lock. ``./battery`` runs it with the system's Python: the standard library is all there is.

``install.py ROOT WANTED [EXTRA]``: WANTED is the text that, kept in ``.venv/installed``, says that this was done.
"""

import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

NOTICED = re.compile(r"(Collecting|Downloading|Building|Installing|Preparing|Using cached) .*")


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.packages = 0
        self.start = time.monotonic()
        self.shown = self.start
        self.terminal = sys.stderr.isatty()

    def line(self, text: str) -> None:
        """Note one line of pip's output."""
        if not NOTICED.match(text):
            return
        self.packages += text.startswith("Collecting")
        now = time.monotonic()
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            message = f"  {now - self.start:4.0f} s  {self.packages} of about {self.total} packages  {brief(text)}"
            print(f"\r\x1b[K{message[:width]}", end="", file=sys.stderr, flush=True)
        elif now - self.shown > 20:
            self.shown = now
            print(f"  {now - self.start:4.0f} s  {self.packages} packages  {brief(text)}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Leave the rewritten line."""
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def brief(text: str) -> str:
    """``Downloading …/torch-2.13.0-cp311-….whl (532 MB)`` as ``downloading torch-2.13.0 (532 MB)``."""
    verb, _, rest = text.partition(" ")
    if verb == "Installing":
        return "unpacking all of them"
    name = rest.split(" (from")[0].split("/")[-1]
    wheel, _, size = name.partition(" (")
    wheel = "-".join(wheel.split("-")[:2]) if wheel.endswith((".whl", ".metadata")) else wheel
    return f"{verb.lower()} {wheel}" + (f" ({size}" if size else "")


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Holds a lock on a file, which the system gives back even when this process is killed."""
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("battery: waiting for another installation of this folder", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_environment(folder: Path) -> None:
    """A virtual environment with pip; one that is whole is kept, a broken one is made anew."""
    python = folder / "bin" / "python"
    check = [str(python), "-m", "pip", "--version"]
    if not python.exists() or subprocess.run(check, capture_output=True, check=False).returncode != 0:
        venv.create(folder, with_pip=True, clear=folder.exists(), symlinks=True)


def pip_install(root: Path, extra: str, log: Path) -> int:
    """Run pip, its output in ``log``; its exit status."""
    pip_itself = [str(root / ".venv/bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    product = f"{root}[{extra}]" if extra else str(root)
    options = ["--progress-bar", "off", "-c", str(root / "requirements.lock")]
    command = [*pip_itself, "install", *options, "-e", product]
    # The lock holds every extra and every platform; about this many of its lines get installed here.
    progress = Progress(total=round(0.85 * len((root / "requirements.lock").read_text().splitlines())))
    with (
        log.open("w") as kept,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as pip,
    ):
        assert pip.stdout is not None  # noqa: S101 - it is a pipe
        try:
            for line in pip.stdout:
                kept.write(line)
                progress.line(line.strip())
        except BaseException:
            pip.terminate()
            raise
    progress.finish()
    return pip.returncode


def install(root: Path, wanted: str, extra: str) -> int:
    """Make ``.venv`` and install into it, unless another process did meanwhile. Gives the exit status."""
    folder = root / ".venv"
    stamp = folder / (f"installed-{extra}" if extra else "installed")
    if stamp.exists() and stamp.read_text().strip() == wanted:
        return 0
    print(
        f"battery: installing into {folder}: at first use and after a change; the first takes minutes",
        file=sys.stderr,
        flush=True,
    )
    start = time.monotonic()
    stamp.unlink(missing_ok=True)
    make_environment(folder)
    log = folder / "install.log"
    status = pip_install(root, extra, log)
    if status != 0:
        errors = [line for line in log.read_text().splitlines() if line.lstrip().lower().startswith("error")]
        print("\n".join(errors[-5:]), file=sys.stderr)
        print(f"battery: pip could not install (whole output: {log}); run the same again to go on", file=sys.stderr)
        return status
    (folder / "installed").write_text(wanted + "\n")
    stamp.write_text(wanted + "\n")
    print(f"battery: installed in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return 0


def main() -> int:
    """Install, one process at a time."""
    root, wanted, extra = Path(sys.argv[1]), sys.argv[2], "".join(sys.argv[3:])
    try:
        with one_at_a_time(root / "requirements.lock"):
            return install(root, wanted, extra)
    except KeyboardInterrupt:
        print("\nbattery: interrupted; run the same again to go on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"battery: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
