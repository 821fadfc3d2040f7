"""Training jobs in a terminal: submitted, followed live with their loss curve, stopped."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch.calling import calling
from launch.commands import INTERRUPTED, say
from launch.display import Pace, console, lasting, numbered
from launch.loss_curve import curve
from launch.platform_client import PlatformClient

LINES = 6  # of the job's log below the curve
DRAWN_A_SECOND = 8


@dataclass
class View:
    """What is known of a job, from its messages."""

    job_id: int
    state: dict[str, Any] = field(default_factory=dict)
    train: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    last: dict[str, Any] | None = None  # the closing message

    def take(self, message: Mapping[str, Any]) -> None:
        """Learn from a message."""
        if message["type"] == "progress":
            self.state |= message
            if "train_loss" in message:
                self.train.append(message["train_loss"])
                self.validation.append(message.get("val_loss"))
        elif is_news(message):
            self.log.append(message["message"])
        elif message["type"] in {"complete", "error"}:
            self.last = dict(message)
            self.state["status"] = message["status"]

    def __rich__(self) -> RenderableType:
        """The job as it stands."""
        epoch, total = self.state.get("current_epoch", 0), self.state.get("total_epochs") or 1
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"job {self.job_id}", style="bold"),
            Text(self.state.get("status", "…")),
            ProgressBar(total=total, completed=epoch, width=30),
            Text(f"{epoch}/{total}"),
        )
        known = Text(facts(self.state), style="dim", no_wrap=True, overflow="ellipsis")
        lines = Text("\n".join(self.log[-LINES:]), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(head, known, curve(self.train, self.validation, width=min(100, console.width)), lines)

    @property
    def succeeded(self) -> bool:
        """Whether the job is over and has made a model."""
        return self.last is not None and self.last["type"] == "complete"

    @property
    def end(self) -> str:
        """How the job ended."""
        if self.last is None:
            return f"job {self.job_id} goes on"
        if self.succeeded:
            return f"job {self.job_id} succeeded: model {self.last['model_id']}"
        return f"job {self.job_id} {self.last['status']}: {self.last['error_message']}"


def facts(state: Mapping[str, Any]) -> str:
    """Losses and the time left, as far as they are known."""
    loss, best, left = (state.get(key) for key in ("current_loss", "best_val_loss", "eta_seconds"))
    said = [] if loss is None else [f"loss {loss:.4g}"]
    said += [] if best is None else [f"best validation {best:.4g}"]
    said += [] if left is None or left < 1 or state.get("status") != "running" else [f"{lasting(left)} left"]
    return ", ".join(said)


def follow(client: PlatformClient, job_id: int) -> int:
    """Show the job until it is over; its exit status."""
    view = View(job_id)
    try:
        if console.is_terminal:
            with Live(view, console=console, refresh_per_second=DRAWN_A_SECOND):
                for message in client.follow(job_id, after=0):
                    view.take(message)
        else:
            lines = Lines()
            for message in client.follow(job_id, after=0):
                view.take(message)
                if line := lines.about(message):
                    say(line)
    except KeyboardInterrupt:
        say(f"job {job_id} goes on: `battery jobs watch {job_id}` shows it, `battery jobs stop {job_id}` ends it")
        return INTERRUPTED
    say(view.end)
    return 0 if view.succeeded else 1


def is_news(message: Mapping[str, Any]) -> bool:
    """Whether it is a line of the log that says more than the progress beside it."""
    return message["type"] == "log" and message["level"] != "DEBUG" and not message["message"].startswith("Epoch ")


class Lines:
    """A job's messages as lines, where nothing can be drawn: the log, some epochs, and a word after a silence."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = Pace(clock)
        self.state: Mapping[str, Any] = {}  # the newest progress

    def about(self, message: Mapping[str, Any]) -> str | None:
        """A line, or None where there is nothing to say."""
        line = self._line(message)
        if line is not None:
            self.pace.said()
        return line

    def _line(self, message: Mapping[str, Any]) -> str | None:
        if is_news(message):
            return f"  {message['message']}"
        if message["type"] == "progress":
            self.state = message
            epoch, total = message["current_epoch"], message["total_epochs"]
            if "train_loss" in message and self.pace.due(epoch, total):
                return f"  epoch {epoch}/{total}: {facts(message)}"
        if message["type"] == "heartbeat" and self.state and self.pace.silent:
            state = self.state
            return f"  still {state['status']}, epoch {state['current_epoch']}/{state['total_epochs']}"
        return None


def run_watch(job_id: int, url: str, user: str, *, password_stdin: bool) -> int:
    """Follow a job that there is."""

    def watch(client: PlatformClient) -> int:
        client.call("GET", f"/training-jobs/{job_id}")
        return follow(client, job_id)

    return calling(watch, url, user, password_stdin=password_stdin)


def run_stop(job_id: int, url: str, user: str, *, password_stdin: bool) -> int:
    """Stop a job."""

    def stop(client: PlatformClient) -> int:
        stopped = client.call("POST", f"/training-jobs/{job_id}/stop")
        say(f"job {stopped['id']} {stopped['status']}")
        return 0

    return calling(stop, url, user, password_stdin=password_stdin)


def run_train(body: Mapping[str, Any], url: str, user: str, *, password_stdin: bool, detach: bool) -> int:
    """Submit a job; then follow it."""

    def train(client: PlatformClient) -> int:
        job = client.call("POST", "/training-jobs", json=dict(body))
        if detach:
            say(str(job["id"]))
            return 0
        say(f"job {job['id']}: {job['algorithm']} on {numbered('battery', job['battery_ids'])}")
        return follow(client, job["id"])

    return calling(train, url, user, password_stdin=password_stdin)
