"""The job's run in MLflow, written from a thread of its own.

MLflow takes seconds to import and tens of milliseconds a call; neither an event nor an epoch may wait for it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from models.observer import Epoch


class Tracking:
    """Opens the run when the first epoch is told; epochs that gather while MLflow is busy go in one call."""

    def __init__(self, open_run: Callable[[], str], log_epochs: Callable[[str, Sequence[Epoch]], None]) -> None:
        self._open_run, self._log_epochs = open_run, log_epochs
        self._waiting: deque[Epoch] = deque()
        self._thread = ThreadPoolExecutor(1, "mlflow")
        self._writing: Future[str] | None = None
        self._run_id: str | None = None

    def epoch(self, epoch: Epoch) -> None:
        """Take an epoch; returns at once."""
        self._waiting.append(epoch)
        if self._writing is None or self._writing.done():  # also after an error: MLflow may be back
            self._writing = self._thread.submit(self._write)

    @property
    def started(self) -> bool:
        """Whether an epoch was told: there is, or will be, a run."""
        return self._writing is not None

    def flush(self) -> str:
        """Wait until every epoch is in MLflow; the run's id. What went wrong in the thread is tried again here."""
        if self._writing is not None:
            self._writing.exception()
        self._writing = self._thread.submit(self._write)
        return self._writing.result()

    def close(self) -> None:
        """Give up what was not written yet."""
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self) -> str:
        if self._run_id is None:
            self._run_id = self._open_run()
        while self._waiting:
            gathered = list(self._waiting)
            self._log_epochs(self._run_id, gathered)
            for _ in gathered:
                self._waiting.popleft()
        return self._run_id
