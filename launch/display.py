"""What the terminal shows: progress of a start, addresses, the state of the parts."""

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from launch.parts import Part
from store.settings import Settings

PLAIN_LINES = 10  # of epochs, where nothing can be drawn
PLAIN_EVERY_S = 30.0  # longest silence there
PLAIN_COLUMNS = 120  # of tables where no terminal says how wide it is


def width() -> int | None:
    """Columns to write; None leaves it to the terminal."""
    return None if sys.stdout.isatty() else PLAIN_COLUMNS


console = Console(highlight=False, soft_wrap=True, width=width())
errors = Console(stderr=True, highlight=False, soft_wrap=True)


class StartProgress:
    """The parts as they come up: a spinner each on a terminal, a line each elsewhere."""

    def __init__(self) -> None:
        self.bars = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<8}"),
            TextColumn("[dim]{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}

    def starting(self, part: Part) -> None:
        """Show a part that is being started."""
        if console.is_terminal:
            self.bars.start()
            self.tasks[part.name] = self.bars.add_task(part.title, total=1, state="starting")

    def healthy(self, part: Part, after_s: float) -> None:
        """Show that a part works."""
        if not console.is_terminal:
            console.print(f"{part.title:<8} works after {after_s:.1f} s")
            return
        self.bars.update(self.tasks[part.name], completed=1, state="works   ")
        if self.bars.finished and part.name == "worker":
            self.bars.stop()

    def stop(self) -> None:
        """Leave the terminal as it is."""
        self.bars.stop()


class Pace:
    """When to print a line about a job where nothing can be drawn: for a tenth of its epochs, or after a silence."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = clock()

    def due(self, epoch: int, total: int) -> bool:
        """Whether this epoch deserves a line."""
        return epoch == total or epoch % max(1, total // PLAIN_LINES) == 0 or self.silent

    @property
    def silent(self) -> bool:
        """Whether nothing was said for long."""
        return self._clock() - self._said_at >= PLAIN_EVERY_S

    def said(self) -> None:
        """Note that a line was printed."""
        self._said_at = self._clock()


def addresses(settings: Settings, api_root: str) -> Table:
    """Where a person goes next."""
    table = Table.grid(padding=(0, 2))
    table.add_row("API and web page", f"{api_root}/")
    table.add_row("API documentation", f"{api_root}/docs")
    table.add_row("MLflow", settings.mlflow)
    table.add_row("Prefect", settings.prefect.removesuffix("/api"))
    return table


def counted(count: int, noun: str) -> str:
    """``1 battery``, ``2 batteries``."""
    return f"{count} {noun if count == 1 else plural(noun)}"


def numbered(noun: str, numbers: Sequence[int], most: int | None = None) -> str:
    """``battery 7``, ``batteries 1, 2, 3``; past ``most`` of them ``batteries 1, 2, 3 and 9 more``."""
    shown = ", ".join(map(str, numbers[:most]))
    more = f" and {len(numbers) - most} more" if most is not None and len(numbers) > most else ""
    return f"{noun if len(numbers) == 1 else plural(noun)} {shown}{more}"


def plural(noun: str) -> str:
    """``batteries``."""
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def ago(started: float) -> str:
    """Time since then."""
    return lasting(time.time() - started)


def lasting(whole_s: float) -> str:
    """Seconds as a person says them: ``2 h 05 min``."""
    minutes, seconds = divmod(max(0, int(whole_s)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
