"""One start of the stack: every part as soon as what it needs is there, until all work."""

import errno
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import httpx

from launch import accounts, deployments, health, processes
from launch.failures import EXPECTED, StartFailed, explained
from launch.parts import Part
from launch.supervision import Supervisor, log_file
from store import migrations
from store.settings import Settings

START_WITHIN_S = 240
POLL_S = 0.2
LOG_WITHIN_S = 2.0
STATE_LINE = re.compile(r"\(\w+(, pid \d+)?\)")  # log_writer's own

# Facts of a start: "database" (migrated, account there), "deployments" (in Prefect), and each part that works by name.
NEEDS = {"api": {"database"}, "worker": {"database", "deployments"}}


class Progress(Protocol):
    """Who shows how the start goes on."""

    def starting(self, part: Part) -> None:
        """The part was started."""

    def healthy(self, part: Part, after_s: float) -> None:
        """The part works."""


def refuse_home(home: Path) -> None:
    """Raise StartFailed for a path that supervisor's configuration cannot hold."""
    if any(part in str(home) for part in (" ;", " #", "\n")):
        raise StartFailed(f"BATTERY_HOME must not contain ' ;', ' #' or a line break: {str(home)!r}")


def refuse_busy_ports(parts: Sequence[Part]) -> None:
    """Raise StartFailed for the first port that cannot be had, saying why."""
    taken: dict[int, Part] = {}
    for part in parts:
        if part.port is not None and (other := taken.setdefault(part.port, part)) is not part:
            both = f"{other.port_setting} ({other.title}) and {part.port_setting} ({part.title})"
            raise StartFailed(f"{both} are both {part.port}: set one of them to another port")
        if part.port is None or (obstacle := processes.obstacle(part.host, part.port)) is None:
            continue
        port = f"port {part.port} ({part.title})"
        if obstacle == errno.EADDRINUSE:
            holder = processes.holder(part.port)
            raise StartFailed(f"{port} is in use{holder}: end that, or set {part.port_setting} to another port")
        if obstacle == errno.EACCES:
            raise StartFailed(f"{port} is not allowed for this user: set {part.port_setting} to one above 1023")
        raise StartFailed(f"{port}: {part.host} is not an address of this machine; set BATTERY_HOST to one that is")


def prepare_database(settings: Settings) -> None:
    """The tables as this release needs them, and the account of the settings."""
    migrations.upgrade()
    accounts.ensure_admin(settings)


def last_lines(log: Path, part: str, count: int = 8) -> list[str]:
    """The end of what a part printed, without times and prefix."""
    prefix = f" {part:<8} | "
    lines = log.read_text(errors="replace").splitlines()[-2000:] if log.exists() else []
    printed = [line.split(prefix, 1)[1] for line in lines if prefix in line]
    return [line for line in printed if not STATE_LINE.fullmatch(line)][-count:]


def failure(settings: Settings, part: Part) -> str:
    """Which part ended, its last words, where the log is."""
    log = log_file(settings.var)
    deadline = time.monotonic() + LOG_WITHIN_S  # its words reach the log a moment after its end
    while not (said := last_lines(log, part.name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return "\n".join([f"{part.title} ended while starting; the log is {log}", *(f"  {line}" for line in said)])


class Start:
    """What holds already, what is awaited."""

    def __init__(self, settings: Settings, parts: Sequence[Part], environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.environment = environment
        self.supervisor = Supervisor(settings.var)
        self.not_started = {part.name: part for part in parts}
        self.starting: dict[str, Part] = {}
        self.pids: dict[str, int] = {}
        embedded = set(self.not_started)
        self.facts = {"prefect", "mlflow", "serving"} - embedded  # elsewhere, so not ours to wait for
        self.tasks: dict[str, Future[None]] = {}
        self.began, self.since = time.monotonic(), time.time()

    def run(self, progress: Progress) -> None:
        """Start all; return when all work. Raises StartFailed."""
        background = ThreadPoolExecutor(1)
        try:
            with health.client() as http:
                while self.not_started or self.starting:
                    self.begin_tasks(background)
                    self.begin_parts(progress)
                    self.finish_tasks()
                    self.refuse_failures()
                    self.notice_healthy(http, progress)
                    time.sleep(POLL_S)
        finally:
            background.shutdown(wait=False, cancel_futures=True)

    def begin_tasks(self, background: ThreadPoolExecutor) -> None:
        """What this process itself does, beside the parts' own starting."""
        ready: dict[str, tuple[bool, Callable[[], None]]] = {
            "database": (True, lambda: prepare_database(self.settings)),
            "deployments": (
                "prefect" in self.facts,
                lambda: deployments.put_deployments(self.settings, self.environment),
            ),
        }
        for name, (needs_met, task) in ready.items():
            if needs_met and name not in self.tasks:
                self.tasks[name] = background.submit(task)

    def finish_tasks(self) -> None:
        """Note what is done. Raises StartFailed."""
        for name, task in self.tasks.items():
            if name not in self.facts and task.done():
                try:
                    task.result()
                except EXPECTED as error:
                    raise StartFailed(f"{name}: {explained(error)}") from error
                self.facts.add(name)

    def begin_parts(self, progress: Progress) -> None:
        """Start the parts whose needs are met."""
        for name, part in list(self.not_started.items()):
            if NEEDS.get(name, set()) <= self.facts:
                self.supervisor.start(name)
                self.starting[name] = self.not_started.pop(name)
                progress.starting(part)

    def refuse_failures(self) -> None:
        """Raise StartFailed when a part has ended or time is up."""
        states = self.supervisor.states()
        for name, part in self.starting.items():
            state = states[name]
            first = self.pids.get(name) or state.pid
            if state.failed or state.pid not in {0, first}:
                raise StartFailed(failure(self.settings, part))
            self.pids[name] = first
        if time.monotonic() - self.began > START_WITHIN_S:
            late = ", ".join(part.title for part in (*self.starting.values(), *self.not_started.values()))
            raise StartFailed(f"not working after {START_WITHIN_S} s: {late}; the log is {log_file(self.settings.var)}")

    def notice_healthy(self, http: httpx.Client, progress: Progress) -> None:
        """Take the parts that work now off the list."""
        for name, part in list(self.starting.items()):
            if health.works(http, self.settings, part, self.since):
                del self.starting[name]
                self.facts.add(name)
                progress.healthy(part, time.monotonic() - self.began)
