"""Who serves: looked up once for all who ask, and again when that is old."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from models.champions import FRESH_S, STALE_S, Champions

A_LITTLE_S = (FRESH_S + STALE_S) / 2  # no longer fresh, not yet stale


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

    def pass_time(self, seconds: float, champion: str = "1") -> None:
        """So much later, another one may be champion."""
        self.now, self.champion = self.now + seconds, champion


def on_a_loop(test: Callable[[Any, Registry, Champions[str]], Awaitable[None]]) -> Callable[[Any], None]:
    """The test, given a registry and what is kept of it, on an event loop of its own."""

    def run(self: Any) -> None:
        async def main() -> None:
            registry = Registry()
            await test(self, registry, Champions(registry.look_up, clock=lambda: registry.now))

        asyncio.run(main())

    return run


async def everything_else_done() -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


class TestGet:
    @on_a_loop
    async def test_looks_up_once_for_all_who_ask_and_not_again_while_that_is_fresh(
        self, registry: Registry, champions: Champions[str]
    ) -> None:
        assert await asyncio.gather(*(champions.get("bilstm") for _ in range(5))) == ["bilstm 1"] * 5
        registry.pass_time(FRESH_S * 0.9, champion="2")
        assert await champions.get("bilstm") == "bilstm 1"
        await everything_else_done()
        assert registry.asked == 1
        assert await champions.get("baseline") == "baseline 2"

    @on_a_loop
    async def test_answers_with_what_is_a_little_old_and_looks_up_meanwhile(
        self, registry: Registry, champions: Champions[str]
    ) -> None:
        await champions.get("bilstm")
        registry.pass_time(A_LITTLE_S, champion="2")
        assert [await champions.get("bilstm") for _ in range(3)] == ["bilstm 1"] * 3
        await everything_else_done()
        assert await champions.get("bilstm") == "bilstm 2"
        assert registry.asked == 2

    @on_a_loop
    async def test_waits_for_what_is_too_old(self, registry: Registry, champions: Champions[str]) -> None:
        await champions.get("bilstm")
        registry.pass_time(STALE_S, champion="2")
        assert await champions.get("bilstm") == "bilstm 2"

    @on_a_loop
    async def test_raises_what_the_look_up_raises_and_asks_again_the_next_time(
        self, registry: Registry, champions: Champions[str]
    ) -> None:
        registry.away = True
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await champions.get("bilstm")
        assert champions.last("bilstm") is None
        registry.away = False
        assert await champions.get("bilstm") == "bilstm 1"
        assert registry.asked == 3

    @on_a_loop
    async def test_a_look_up_in_the_background_that_fails_disturbs_nobody(
        self, registry: Registry, champions: Champions[str]
    ) -> None:
        await champions.get("bilstm")
        registry.away = True
        registry.pass_time(A_LITTLE_S)
        assert await champions.get("bilstm") == "bilstm 1"
        await everything_else_done()
        registry.pass_time(STALE_S)
        with pytest.raises(ConnectionError):
            await champions.get("bilstm")
        assert champions.last("bilstm") == "bilstm 1"


class TestForget:
    @on_a_loop
    async def test_has_it_looked_up_anew(self, registry: Registry, champions: Champions[str]) -> None:
        await champions.get("bilstm")
        registry.champion = "2"
        champions.forget("bilstm")
        champions.forget("baseline")
        assert await champions.get("bilstm") == "bilstm 2"
