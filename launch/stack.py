"""The embedded stack as a whole: run it, watch it, stop it."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from launch import lock, processes
from launch.environment import stack_environment
from launch.failures import StartFailed
from launch.parts import Part, embedded_parts
from launch.start import Progress, Start, refuse_busy_ports, refuse_home
from launch.supervision import State, Supervisor, log_file, make_private, start_supervisor
from store.settings import Settings

STOP_WITHIN_S = 75
KILL_WITHIN_S = 5
WATCH_S = 1.0


@dataclass(frozen=True)
class Stack:
    """A running stack: this process started it and will end it."""

    settings: Settings
    parts: tuple[Part, ...]
    process: "subprocess.Popen[bytes]"

    def watch(self, say: Callable[[str], None]) -> None:
        """Tell of parts that ended and came back, until the supervisor itself is gone: then raise StartFailed."""
        supervisor = Supervisor(self.settings.var)
        before = supervisor.states()
        while self.process.poll() is None:
            time.sleep(WATCH_S)
            try:
                now = supervisor.states()
            except OSError:
                continue
            for part in self.parts:
                if part.port is not None and left_behind(before[part.name], now[part.name]):
                    processes.kill_group(before[part.name].pid)
                if message := change(part, before[part.name], now[part.name]):
                    say(message)
            before = now
        raise StartFailed(f"the supervisor of the parts was ended; the log is {log_file(self.settings.var)}")


def left_behind(before: State, now: State) -> bool:
    """Whether the part's first process is gone: those that it had started may hold the port that the next one needs."""
    return bool(before.pid) and now.pid != before.pid


def change(part: Part, before: State, now: State) -> str | None:
    """What to tell of a part between two looks."""
    if now.failed and not before.failed:
        return f"{part.title} ended and is started again"
    if now.pid and before.pid and now.pid != before.pid:
        return f"{part.title} ended and was started again (process {now.pid})"
    if before.failed and now.state == "RUNNING":
        return f"{part.title} runs again (process {now.pid})"
    return None


@contextlib.contextmanager
def running(settings: Settings, progress: Progress, say: Callable[[str], None]) -> Iterator[Stack]:
    """The stack, every part of it working; all of it is ended at the end.

    Raises lock.AlreadyRunning, or StartFailed with a message that says what to do.
    """
    refuse_home(settings.home)
    make_private(settings.var)
    with lock.held(lock.lock_file(settings.var)):
        if left := processes.end_left_over(settings.home):
            say(f"ended {left} processes that an earlier stack of this home left behind")
        parts = tuple(embedded_parts(settings))
        refuse_busy_ports(parts)
        environment = stack_environment(settings)
        with ended_by_signals():
            process = start_supervisor(settings, parts, environment)
            try:
                Start(settings, parts, environment).run(progress)
                yield Stack(settings, parts, process)
            finally:
                try:
                    say("stopping")
                finally:  # also when there is nobody left to tell
                    stop(settings, process)


def stop(settings: Settings, process: "subprocess.Popen[bytes]") -> None:
    """End every process of the stack, the parts in order; at once when interrupted meanwhile."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(STOP_WITHIN_S)
    finally:
        processes.kill(processes.marked(settings.home))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_WITHIN_S)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl-C does, and Ctrl-C does it even where a shell's ``&`` switched it off."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    replaced = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
