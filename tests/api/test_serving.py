"""The client of the prediction service: whom it believes to serve, and when it stops asking."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from api.errors import ServiceUnavailable
from api.serving import FAILURES, REST_S, Serving
from models.champions import FRESH_S, STALE_S


class Service:
    """A service with one champion, that can be away; ``asked`` counts the calls that reach it."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.champion: str | None = "1"
        self.now = 100.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await asyncio.sleep(0)  # others may ask meanwhile
        if self.status == 0:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(self.status, json={"version": self.champion} if request.url.path == "/champion" else [])


@pytest.fixture
def service() -> Service:
    return Service()


def run(service: Service, work: Callable[[Serving], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with httpx.AsyncClient(base_url="http://serving", transport=httpx.MockTransport(service)) as http:
            return await work(Serving(http, clock=lambda: service.now))

    return asyncio.run(main())


async def refused(serving: Serving) -> ServiceUnavailable:
    with pytest.raises(ServiceUnavailable) as caught:
        await serving.predict(b"{}")
    return caught.value


class TestBreaker:
    @pytest.mark.parametrize("status", [0, 500, 503])
    def test_stops_asking_after_failures_in_a_row_and_lets_one_try_after_a_rest(
        self, service: Service, status: int
    ) -> None:
        async def work(serving: Serving) -> None:
            service.status = status
            for _ in range(FAILURES + 5):
                assert int((await refused(serving)).headers["Retry-After"]) >= 1
            assert service.asked == FAILURES
            service.now += REST_S
            await asyncio.gather(*(refused(serving) for _ in range(5)))
            assert service.asked == FAILURES + 1
            service.status = 200
            service.now += REST_S
            for _ in range(5):
                assert await serving.predict(b"{}") == []
            assert service.asked == FAILURES + 6

        run(service, work)

    def test_forgets_failures_that_are_not_in_a_row(self, service: Service) -> None:
        async def work(serving: Serving) -> None:
            for _ in range(FAILURES + 1):
                service.status = 500
                await refused(serving)
                service.status = 200
                await serving.predict(b"{}")
            assert service.asked == 2 * (FAILURES + 1)

        run(service, work)


class TestChampion:
    def test_is_looked_up_once_for_all_who_ask_and_again_when_it_may_have_changed(self, service: Service) -> None:
        async def work(serving: Serving) -> None:
            assert await asyncio.gather(*(serving.champion("bilstm") for _ in range(5))) == ["1"] * 5
            assert service.asked == 1
            service.champion = "2"
            service.now += FRESH_S / 2
            assert await serving.champion("bilstm") == "1"
            assert service.asked == 1
            service.now += STALE_S
            assert await serving.champion("bilstm") == "2"

        run(service, work)

    def test_that_is_none_is_none(self, service: Service) -> None:
        service.champion = None
        assert run(service, lambda serving: serving.champion("bilstm")) is None
