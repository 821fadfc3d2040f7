"""Work that forms batches by itself: what arrives while others are being answered is answered together.

Nobody waits for company, so a lone caller is served at once; under load the cost of a call is shared.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
Waiting = tuple[Sequence[Q], asyncio.Future[list[A]]]


class Overloaded(Exception):
    """So much waits already that more would only wait longer."""


class Coalescer(Generic[Q, A]):
    """Asks ``answer_all`` for what waits, at most ``lanes`` calls at a time. Belongs to one event loop."""

    def __init__(
        self,
        answer_all: Callable[[list[Q]], Awaitable[list[A]]],
        *,
        lanes: int = 2,
        largest: int = 64,
        most_waiting: int = 1024,
    ) -> None:
        self._answer_all, self._largest, self._most_waiting = answer_all, largest, most_waiting
        self._waiting: deque[Waiting[Q, A]] = deque()
        self._size = 0
        self._free = lanes
        self._workers: set[asyncio.Task[None]] = set()

    async def ask(self, questions: Sequence[Q], within_s: float) -> list[A]:
        """Answers in the order of the questions; raises what ``answer_all`` raised.

        Raises Overloaded at once when too much waits, TimeoutError after ``within_s``.
        """
        if self._size and self._size + len(questions) > self._most_waiting:
            raise Overloaded
        answers: asyncio.Future[list[A]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, answers))
        self._size += len(questions)
        if self._free:
            self._free -= 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        async with asyncio.timeout(within_s):
            return await answers

    async def _work(self) -> None:
        try:
            while taken := self._take():
                await self._answer(taken)
        finally:
            self._free += 1

    def _take(self) -> list[Waiting[Q, A]]:
        """The first that waits, and as many after it as fit; those whose caller has gone are left out."""
        taken: list[Waiting[Q, A]] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0][0]) <= self._largest):
            questions, answers = self._waiting.popleft()
            self._size -= len(questions)
            if not answers.done():
                taken.append((questions, answers))
                size += len(questions)
        return taken

    async def _answer(self, taken: list[Waiting[Q, A]]) -> None:
        together = [question for questions, _ in taken for question in questions]
        try:
            answers = await self._answer_all(together)
        except Exception as error:  # noqa: BLE001 - raised again where it was asked
            if len(taken) > 1:  # what spoils one call shall not spoil the others
                for one in taken:
                    await self._answer([one])
            elif not taken[0][1].done():
                taken[0][1].set_exception(error)
            return
        start = 0
        for questions, future in taken:
            if not future.done():  # its caller may have gone
                future.set_result(answers[start : start + len(questions)])
            start += len(questions)
