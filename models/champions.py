"""Who serves, as of a moment ago: looked up by one for all who ask, and again when that is old. Knows no torch.

The prediction service keeps champions so, and the API in front of it keeps their versions: a new one answers within
twice ``STALE_S``.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

FRESH_S = 1.0  # a champion looked up within this time is not looked up again
STALE_S = 2.0  # up to this age it is used while it is looked up in the background; older ones are waited for

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Champions(Generic[T]):
    """What ``look_up`` says of each algorithm. Belongs to one event loop."""

    def __init__(
        self, look_up: Callable[[str], Coroutine[Any, Any, T]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_up, self._clock = look_up, clock
        self._seen: dict[str, tuple[T, float]] = {}
        self._looking: dict[str, asyncio.Task[T]] = {}

    async def get(self, algorithm: str) -> T:
        """The champion as of at most ``STALE_S`` ago. Raises what ``look_up`` raises."""
        seen = self._seen.get(algorithm)
        if seen is None:
            return await asyncio.shield(self._look(algorithm))
        champion, at = seen
        age = self._clock() - at
        if age < FRESH_S:
            return champion
        looking = self._look(algorithm)
        return champion if age < STALE_S else await asyncio.shield(looking)

    def last(self, algorithm: str) -> T | None:
        """The champion that was seen last, however long ago."""
        seen = self._seen.get(algorithm)
        return None if seen is None else seen[0]

    def forget(self, algorithm: str) -> None:
        """Look it up anew the next time."""
        self._seen.pop(algorithm, None)

    def _look(self, algorithm: str) -> asyncio.Task[T]:
        """The look-up under way, begun when there is none."""
        looking = self._looking.get(algorithm)
        if looking is None:
            looking = self._looking[algorithm] = asyncio.create_task(self._seen_now(algorithm))
            looking.add_done_callback(lambda done: self._looked(algorithm, done))
        return looking

    async def _seen_now(self, algorithm: str) -> T:
        champion = await self._look_up(algorithm)
        self._seen[algorithm] = champion, self._clock()
        return champion

    def _looked(self, algorithm: str, task: asyncio.Task[T]) -> None:
        del self._looking[algorithm]
        if not task.cancelled() and (error := task.exception()) is not None:  # whoever waits for it has it too
            logger.info("Looking up the champion of %s failed: %s", algorithm, error)
