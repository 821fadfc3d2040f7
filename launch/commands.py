"""What the commands do; each gives its exit status."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec

from rich.markup import escape
from rich.table import Table

from launch import accounts, health, lock
from launch.display import StartProgress, addresses, ago, console, errors
from launch.parts import Part, embedded_parts
from launch.settings_table import rows, shown
from launch.stack import running
from launch.supervision import Supervisor, log_file
from store.settings import CHECKOUT, Settings, get_settings

NOT_RUNNING = 3
INTERRUPTED = 130
DOWN_WITHIN_S = 120


def api_root(settings: Settings) -> str:
    """The API's address as a person types it."""
    page = next(part.page for part in embedded_parts(settings) if part.name == "api")
    return str(page).replace("127.0.0.1", "localhost")


def say(message: str) -> None:
    """One line to the terminal."""
    console.print(message, markup=False)


def complain(message: str) -> None:
    """One line about what went wrong."""
    errors.print(f"battery: {message}", markup=False)


def run_up() -> int:
    """Start, show the addresses, stay until told to end."""
    settings = get_settings()
    progress = StartProgress()
    began = time.monotonic()
    healthy = False
    try:
        with running(settings, progress, say) as stack:
            progress.stop()
            healthy = True
            say(f"Everything works after {time.monotonic() - began:.0f} s. Ctrl-C ends it.")
            console.print(addresses(settings, api_root(settings)))
            stack.watch(say)
    except lock.AlreadyRunning as other:
        say(f"already running for {settings.home} (process {other.pid}): {api_root(settings)} — see `battery status`")
    except KeyboardInterrupt:
        return 0 if healthy else INTERRUPTED
    finally:
        progress.stop()
    return 0


def run_down() -> int:
    """End the stack of this home, and wait until it has ended."""
    settings = get_settings()
    path = lock.lock_file(settings.var)
    pid = lock.holder_pid(path)
    if pid is None:
        say(f"nothing runs for {settings.home}")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_WITHIN_S
    while lock.holder_pid(path) == pid:
        if time.monotonic() > deadline:
            complain(f"process {pid} has not ended after {DOWN_WITHIN_S} s")
            return 1
        time.sleep(0.1)
    say("stopped")
    return 0


def run_status() -> int:
    """A table of the parts."""
    settings = get_settings()
    pid = lock.holder_pid(lock.lock_file(settings.var))
    if pid is None:
        say(f"nothing runs for {settings.home}; start it with `battery up`")
        return NOT_RUNNING
    try:
        states = Supervisor(settings.var).states()
    except OSError:
        say(f"starting or stopping (process {pid})")
        return 1
    table = Table("part", "state", "process", "for", "address", box=None, pad_edge=False)
    works = True
    with health.client() as http:
        for part in embedded_parts(settings):
            state = states.get(part.name)
            if state is None:  # started with other settings than these
                works = False
                table.add_row(part.title, "not part of it", "-", "-", address(part))
                continue
            healthy = bool(state.pid) and health.works(http, settings, part, 0)
            works = works and healthy
            said = "works" if healthy else state.state.lower()
            table.add_row(
                part.title, said, str(state.pid or "-"), ago(state.started) if state.pid else "-", address(part)
            )
    console.print(table)
    say(f"home {settings.home}, log {log_file(settings.var)}, process {pid}")
    return 0 if works else 1


def address(part: Part) -> str:
    """Where a part answers."""
    return part.page or "-"


def run_logs(part: str, *, follow: bool, lines: int) -> int:
    """The end of the log, and what comes if asked."""
    settings = get_settings()
    known = ["log", *(embedded.name for embedded in embedded_parts(settings))]
    if part and part not in known:
        complain(f"there is no part {part!r}; there are {', '.join(known)}")
        return 2
    log = log_file(settings.var)
    if not log.exists():
        complain(f"there is no log yet at {log}")
        return 1
    mark = f" {part:<8} | " if part else ""
    last = [line for line in log.read_text(errors="replace").splitlines() if mark in line][-lines:]
    for line in last:
        say(line)
    if not follow:
        return 0
    with subprocess.Popen(["tail", "-n", "0", "-F", log], stdout=subprocess.PIPE, text=True, errors="replace") as tail:  # noqa: S607
        try:
            for line in tail.stdout or ():
                if mark in line:
                    say(line.rstrip("\n"))
        except KeyboardInterrupt:
            tail.terminate()
    return 0


def run_settings() -> int:
    """A table of the settings in force."""
    settings = get_settings()
    table = Table("setting", "value", "meaning", box=None, pad_edge=False)
    for (name, _, meaning), field in zip(rows(), Settings.model_fields, strict=True):
        table.add_row(name, *map(escape, (shown(getattr(settings, field)), meaning)))
    console.print(table)
    say(f"Set them as environment variables or as lines of {settings.home / '.env'}")
    return 0


def run_users_add(email: str, password: str) -> int:
    """Make an account."""
    say(f"{accounts.add_user(email, password)} may sign in now")
    return 0


def run_tests(arguments: Sequence[str]) -> int:
    """Become pytest in the checkout; a status is given only where that cannot be."""
    if (CHECKOUT / "tests").is_dir() and find_spec("pytest"):
        os.chdir(CHECKOUT)
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606
    complain("the tests and what they need are not here: `./battery test` in the checkout installs it and runs them")
    return 1
