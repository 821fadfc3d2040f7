"""Who serves: looked up once for all who ask, and again when that is old."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from models.champions import FRESH_S, STALE_S, Champions


class Registry:
    """Names a champion; counts how often it is asked; can be away."""

    def __init__(self) -> None:
        self.champion, self.asked, self.away, self.now = "1", 0, False, 100.0

    async def look_up(self, algorithm: str) -> str:
        self.asked += 1
        await asyncio.sleep(0)  # others may ask meanwhile
        if self.away:
            raise ConnectionError(algorithm)
        return f"{algorithm} {self.champion}"


def run(work: Callable[[Registry, Champions[str]], Awaitable[Any]]) -> None:
    async def main() -> None:
        registry = Registry()
        await work(registry, Champions(registry.look_up, clock=lambda: registry.now))

    asyncio.run(main())


async def everything_else_done() -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


class TestGet:
    def test_looks_up_once_for_all_who_ask_and_not_again_while_that_is_fresh(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            assert await asyncio.gather(*(champions.get("bilstm") for _ in range(5))) == ["bilstm 1"] * 5
            registry.champion, registry.now = "2", registry.now + FRESH_S * 0.9
            assert await champions.get("bilstm") == "bilstm 1"
            assert registry.asked == 1
            assert await champions.get("baseline") == "baseline 2"

        run(work)

    def test_answers_with_what_is_a_little_old_and_looks_up_meanwhile(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            await champions.get("bilstm")
            registry.champion, registry.now = "2", registry.now + (FRESH_S + STALE_S) / 2
            assert [await champions.get("bilstm") for _ in range(3)] == ["bilstm 1"] * 3
            await everything_else_done()
            assert await champions.get("bilstm") == "bilstm 2"
            assert registry.asked == 2

        run(work)

    def test_waits_for_what_is_too_old(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            await champions.get("bilstm")
            registry.champion, registry.now = "2", registry.now + STALE_S
            assert await champions.get("bilstm") == "bilstm 2"

        run(work)

    def test_raises_what_the_look_up_raises_and_asks_again_the_next_time(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            registry.away = True
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await champions.get("bilstm")
            assert champions.last("bilstm") is None
            registry.away = False
            assert await champions.get("bilstm") == "bilstm 1"
            assert registry.asked == 3

        run(work)

    def test_a_look_up_in_the_background_that_fails_disturbs_nobody(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            await champions.get("bilstm")
            registry.away, registry.now = True, registry.now + (FRESH_S + STALE_S) / 2
            assert await champions.get("bilstm") == "bilstm 1"
            await everything_else_done()
            registry.now += STALE_S
            with pytest.raises(ConnectionError):
                await champions.get("bilstm")
            assert champions.last("bilstm") == "bilstm 1"

        run(work)


class TestForget:
    def test_has_it_looked_up_anew(self) -> None:
        async def work(registry: Registry, champions: Champions[str]) -> None:
            await champions.get("bilstm")
            registry.champion = "2"
            champions.forget("bilstm")
            champions.forget("baseline")
            assert await champions.get("bilstm") == "bilstm 2"

        run(work)
