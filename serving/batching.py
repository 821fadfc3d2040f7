"""Batches that form by themselves: what is asked while a model computes is answered by its next forward pass.

Nobody waits for a batch to fill, so a lone question costs no more than its own computation; under load batches grow.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

LARGEST_BATCH = 512  # questions a forward pass

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Asks ``answer_all`` for everything that waits, one call at a time. Belongs to one event loop."""

    def __init__(self, answer_all: Callable[[Sequence[Q]], list[A]], pool: Executor) -> None:
        self._answer_all, self._pool = answer_all, pool
        self._waiting: deque[tuple[Sequence[Q], asyncio.Future[list[A]]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, questions: Sequence[Q]) -> list[A]:
        """Answers in the order of the questions; raises what ``answer_all`` raised."""
        answers: asyncio.Future[list[A]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, answers))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answers

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._worker = None

    def _take(self) -> list[tuple[Sequence[Q], asyncio.Future[list[A]]]]:
        """The first that waits, and as many after it as fit."""
        taken = [self._waiting.popleft()]
        size = len(taken[0][0])
        while self._waiting and (size := size + len(self._waiting[0][0])) <= LARGEST_BATCH:
            taken.append(self._waiting.popleft())
        return taken

    async def _answer(self, taken: Sequence[tuple[Sequence[Q], asyncio.Future[list[A]]]]) -> None:
        together = [question for questions, _ in taken for question in questions]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._pool, self._answer_all, together)
        except Exception as error:  # noqa: BLE001 - raised again where it was asked
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for questions, future in taken:
            if not future.done():  # its client may have gone
                future.set_result(answers[start : start + len(questions)])
            start += len(questions)
