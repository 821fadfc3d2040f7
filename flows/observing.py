"""A job's events as training goes on: what clients follow, and how training learns that it was stopped."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from models.observer import Epoch, Level
from store import jobs
from store.jobs import EventType
from store.session import reading, transaction

ASK_EVERY_S = 0.3  # how often the row is read to learn of a stop; batches are asked far more often

logger = logging.getLogger(__name__)


class JobObserver:
    """Writes one job's events; hands every new epoch on to ``on_epoch`` once clients can see it."""

    def __init__(
        self,
        job_id: int,
        epochs_told: int,
        on_epoch: Callable[[Epoch], None],
        clock: Callable[[], float] = time.monotonic,
        best_val_loss: float = math.inf,
    ) -> None:
        self.job_id, self.epochs_told, self.on_epoch, self.clock = job_id, epochs_told, on_epoch, clock
        self.best_val_loss = best_val_loss  # of the epochs that an earlier process told of
        self._live, self._asked_at = True, float("-inf")
        self._first: tuple[int, float] | None = None  # epoch told first by this process, and when

    def log(self, level: Level, message: str) -> None:
        """Write a line of the job's log."""
        logger.log(logging.getLevelNamesMapping()[level.upper()], message)
        self._append(("log", {"level": level.upper(), "message": message}))

    def epoch(self, epoch: Epoch) -> None:
        """Tell of an epoch that is over. After a resume, epochs that were told before are not told again.

        One write: the message, and the line of the log that says the same.
        """
        if epoch.epoch <= self.epochs_told:
            return
        self.epochs_told = epoch.epoch
        self.best_val_loss = min(self.best_val_loss, epoch.val_loss)
        progress = {
            "progress": epoch.epoch / epoch.total,
            "current_epoch": epoch.epoch,
            "total_epochs": epoch.total,
            "current_loss": epoch.train_loss,
            "train_loss": epoch.train_loss,
            "val_loss": epoch.val_loss,
            "best_val_loss": self.best_val_loss,
            "epoch_seconds": epoch.seconds,
            "eta_seconds": self._seconds_left(epoch),
        }
        self._append(("progress", progress), ("log", {"level": "INFO", "message": line(epoch)}))
        self.on_epoch(epoch)

    def _seconds_left(self, epoch: Epoch) -> float:
        """Until the last epoch, as fast as this process went so far, with all that happens between epochs."""
        now = self.clock()
        first, began = self._first = self._first or (epoch.epoch, now)
        pace = (now - began) / (epoch.epoch - first) if epoch.epoch > first else epoch.seconds
        return pace * (epoch.total - epoch.epoch)

    def should_stop(self) -> bool:
        """Whether the job is over or gone; asks the database at most every ``ASK_EVERY_S``."""
        if self._live and self.clock() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = self.clock()
            with reading() as session:
                self._live = jobs.is_live(session, self.job_id)
        return not self._live

    def _append(self, *events: tuple[EventType, dict[str, Any]]) -> None:
        with transaction() as session:
            for kind, payload in events:
                if jobs.append_event(session, self.job_id, kind, payload) == 0:
                    self._live = False


def line(epoch: Epoch) -> str:
    """An epoch as a line of the log."""
    losses = f"loss {epoch.train_loss:.4g}, validation {epoch.val_loss:.4g}"
    return f"Epoch {epoch.epoch}/{epoch.total}: {losses} ({epoch.seconds:.2f} s)"
