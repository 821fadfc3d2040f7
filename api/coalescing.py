"""Work that forms batches by itself: what arrives while others are being answered is answered together.

Nobody waits for company, so a lone caller is served at once; under load the cost of a call is shared. One round is
followed by the next: larger rounds cost less than several at a time. Only one that takes long holds nobody else up.
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
    """Asks ``answer_all`` for what waits, one call at a time, beside calls that take longer than ``patience_s``.

    There are at most ``lanes`` calls at a time. Belongs to one event loop.
    """

    def __init__(
        self,
        answer_all: Callable[[list[Q]], Awaitable[list[A]]],
        *,
        lanes: int = 4,
        patience_s: float = 0.1,
        largest: int = 64,
        most_waiting: int = 1024,
    ) -> None:
        self._answer_all, self._largest, self._most_waiting = answer_all, largest, most_waiting
        self._patience_s = patience_s
        self._waiting: deque[Waiting[Q, A]] = deque()
        self._size = 0
        self._free = lanes
        self._brisk = 0  # lanes whose call has not taken long
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
        self._open_lane()
        async with asyncio.timeout(within_s):
            return await answers

    def _open_lane(self) -> None:
        """Answer what waits, unless a lane will soon be there for it."""
        if self._waiting and self._free and not self._brisk:
            self._free -= 1
            self._brisk += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """One lane: a call after the other until nothing waits, or until one took so long that another lane opened."""
        brisk = True

        def takes_long() -> None:
            nonlocal brisk
            brisk = False
            self._brisk -= 1
            self._open_lane()

        try:
            while brisk and (taken := await self._take()):
                timer = asyncio.get_running_loop().call_later(self._patience_s, takes_long)
                try:
                    await self._answer(taken)
                finally:
                    timer.cancel()
        finally:
            self._brisk -= brisk
            self._free += 1
        self._open_lane()

    async def _take(self) -> list[Waiting[Q, A]]:
        """The first that waits, and as many after it as fit; those whose caller has gone are left out."""
        size = 0
        while size < min(self._size, self._largest):  # others still arrive: a turn of the loop costs nothing
            size = self._size
            await asyncio.sleep(0)
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
