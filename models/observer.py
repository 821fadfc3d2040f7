"""How a training run speaks to whoever started it, and how it is told to stop. No torch here."""

from dataclasses import dataclass
from typing import Literal, Protocol

Level = Literal["debug", "info", "warning", "error"]


class Stopped(Exception):
    """The observer asked to stop; nothing was produced."""


class TrainingFailed(Exception):
    """The numbers left the finite; the message says when, and what to try."""


@dataclass(frozen=True)
class Epoch:
    """One finished epoch. Losses are of all networks of the ensemble together, in standardised units."""

    epoch: int  # 1-based
    total: int  # epochs asked for
    train_loss: float
    val_loss: float
    seconds: float


def counted(count: int, one: str, many: str) -> str:
    """As a line of a log says it: ``1 battery``, ``2 batteries``."""
    return f"{count} {one if count == 1 else many}"


class Observer(Protocol):
    """Told of every epoch; asked at every batch whether to go on, so `should_stop` must be cheap."""

    def log(self, level: Level, message: str) -> None:
        """Take a line for the job's log."""

    def epoch(self, epoch: Epoch) -> None:
        """Take the losses of an epoch that has just ended and been saved."""

    def should_stop(self) -> bool:
        """Say whether training must end now."""
