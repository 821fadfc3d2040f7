import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.coalescing import Coalescer, Overloaded

LONG_S = 30.0


class Doubling:
    """Answers n with 2n once ``gate`` is open; refuses 13 and whatever is asked with it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.batches: list[list[int]] = []
        self.begun: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.begun.put_nowait(None)
        await self.gate.wait()
        if 13 in numbers:
            raise ValueError(numbers)
        return [2 * number for number in numbers]


def run(work: Callable[[Doubling], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work(Doubling())

    return asyncio.run(main())


async def started(*calls: Any) -> list["asyncio.Task[Any]"]:
    """Tasks of the calls, each begun before the next one."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call))
        for _ in range(5):
            await asyncio.sleep(0)
    return tasks


async def begun(doubling: Doubling, batches: int) -> None:
    """Wait until so many batches are being answered."""
    for _ in range(batches):
        await asyncio.wait_for(doubling.begun.get(), LONG_S)


class TestAsk:
    def test_answers_what_came_meanwhile_together_each_caller_its_own(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=1)
            tasks = await started(*(coalescer.ask(asked, LONG_S) for asked in ([1], [2, 3], [4])))
            assert doubling.batches == [[1]]
            doubling.gate.set()
            assert await asyncio.gather(*tasks) == [[2], [4, 6], [8]]
            assert doubling.batches == [[1], [2, 3, 4]]
            assert await coalescer.ask([5], LONG_S) == [10]

        run(work)

    def test_makes_no_batch_larger_than_it_may_be_unless_one_caller_asks_for_more(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=1, largest=3)
            asked = ([0], [1], [2, 3], [4, 5], [6], [7, 8, 9, 10])
            tasks = await started(*(coalescer.ask(numbers, LONG_S) for numbers in asked))
            doubling.gate.set()
            await asyncio.gather(*tasks)
            assert doubling.batches == [[0], [1, 2, 3], [4, 5, 6], [7, 8, 9, 10]]

        run(work)

    def test_what_one_caller_asks_spoils_nobody_elses_answer(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=1)
            tasks = await started(*(coalescer.ask(asked, LONG_S) for asked in ([1], [2], [13], [3])))
            doubling.gate.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [answers[0], answers[1], answers[3]] == [[2], [4], [6]]
            assert isinstance(answers[2], ValueError)

        run(work)

    def test_refuses_at_once_what_would_wait_too_long(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=1, most_waiting=2)
            tasks = await started(*(coalescer.ask([number], LONG_S) for number in (1, 2, 3)))
            with pytest.raises(Overloaded):
                await coalescer.ask([4], LONG_S)
            doubling.gate.set()
            assert await asyncio.gather(*tasks) == [[2], [4], [6]]

        run(work)

    def test_gives_up_in_time_and_what_nobody_waits_for_is_not_asked(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=1)
            for number in (1, 2):
                with pytest.raises(TimeoutError):
                    await coalescer.ask([number], 0.01)
            [last] = await started(coalescer.ask([3], LONG_S))
            doubling.gate.set()
            assert await last == [6]
            assert doubling.batches == [[1], [3]]

        run(work)

    def test_takes_along_what_comes_by_turns_of_the_loop(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling)
            doubling.gate.set()

            async def ask(number: int) -> list[int]:
                for _ in range(number):
                    await asyncio.sleep(0)
                return await coalescer.ask([number], LONG_S)

            assert await asyncio.gather(*(ask(number) for number in range(4))) == [[0], [2], [4], [6]]
            assert doubling.batches == [[0, 1, 2, 3]]

        run(work)


class TestLanes:
    def test_what_takes_long_holds_nobody_else_up(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, patience_s=0.01)
            tasks = await started(coalescer.ask([1], LONG_S), coalescer.ask([2], LONG_S), coalescer.ask([3], LONG_S))
            await begun(doubling, 2)
            assert doubling.batches == [[1], [2, 3]]
            doubling.gate.set()
            assert await asyncio.gather(*tasks) == [[2], [4], [6]]

        run(work)

    def test_what_takes_no_longer_than_usual_is_waited_for(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, patience_s=LONG_S)
            tasks = await started(*(coalescer.ask([number], LONG_S) for number in range(4)))
            assert doubling.batches == [[0]]
            doubling.gate.set()
            await asyncio.gather(*tasks)
            assert doubling.batches == [[0], [1, 2, 3]]

        run(work)

    def test_are_no_more_than_there_may_be_and_used_again(self) -> None:
        async def work(doubling: Doubling) -> None:
            coalescer = Coalescer(doubling, lanes=2, patience_s=0.01)
            first, second = await started(coalescer.ask([1], LONG_S), coalescer.ask([2], LONG_S))
            await begun(doubling, 2)
            [third] = await started(coalescer.ask([3], LONG_S))
            await asyncio.sleep(0.05)
            assert doubling.batches == [[1], [2]]
            doubling.gate.set()
            assert await asyncio.gather(first, second, third) == [[2], [4], [6]]
            assert await coalescer.ask([4], LONG_S) == [8]
            assert doubling.batches == [[1], [2], [3], [4]]

        run(work)
