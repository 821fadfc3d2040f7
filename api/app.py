"""The FastAPI application, put together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import httpx
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import artifacts, handlers, prefect
from api.auth import endpoints as auth
from api.auth import service as auth_service
from api.auth.tokens import is_loopback, secret_key
from api.authentication import BASE, Authentication
from api.batteries import endpoints as batteries
from api.batteries.kept_pages import KeptPages
from api.bodies import BodyLimit
from api.data_versions import endpoints as data_versions
from api.documentation import DESCRIPTION
from api.headers import SecurityHeaders
from api.health import endpoints as health
from api.health.service import release
from api.limits import Limits
from api.models import endpoints as models
from api.models.service import InFlight
from api.outbox import Outbox
from api.page import endpoints as page
from api.predictions import endpoints as predictions
from api.predictions.service import Predictor
from api.routes import Route, routes_of
from api.serving import Serving
from api.state import State
from api.tracing import Failures, Tracing
from api.training_jobs import endpoints as training_jobs
from api.training_jobs import sockets
from api.training_jobs.feed import Feed
from store import refreshing, sweeping
from store.settings import Settings

log = logging.getLogger(__name__)
LOGINS_AT_ONCE = 2  # 19 MiB each
PAGES_AT_ONCE = 2  # 100 cycles are some 10 MB of JSON
UPLOADS_AT_ONCE = 2  # parsed in a process each; the others wait, received
EXPOSED = [  # what pages of other origins may read of an answer
    "X-Request-ID",
    "Retry-After",
    "Content-Disposition",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Link",
    "X-Total-Count",
]
NOUNS = (health, predictions, batteries, training_jobs, models, auth, data_versions, sockets)  # tried in turn
SHOWN = ("health", "auth", "batteries", "data versions", "training jobs", "models", "predictions")  # in the docs

Client = Callable[[str, float], httpx.AsyncClient]


def http_client(base: str, timeout_s: float) -> httpx.AsyncClient:
    """A client of one part; a proxy of the environment is never asked for what runs on this machine."""
    local = is_loopback(urlsplit(base).hostname or "")
    return httpx.AsyncClient(base_url=base, timeout=timeout_s, trust_env=not local)


def create_app(settings: Settings, client: Client = http_client) -> FastAPI:
    """The API for these settings. Raises WeakKey when its key is weak and it binds outside loopback."""
    app = FastAPI(
        title="Battery Life Analysis Platform",
        version=release(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[{"name": name} for name in SHOWN],
        lifespan=lifespan,
    )
    app.state.running = state = new_state(settings, client)
    for noun in NOUNS:
        app.include_router(noun.router, prefix=BASE)  # right here: every router in between would match all paths again
    app.include_router(page.router)
    handlers.install(app)

    @cache
    def routes() -> tuple[Route, ...]:
        return routes_of(app)

    # Each layer wraps those added before it: the last one is the outermost.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Authentication, settings=settings, key=state.secret_key, limits=state.limits, routes=routes)
    app.add_middleware(Failures)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_credentials="*" not in settings.allowed_origins,  # the cookie that opens sockets
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "If-Range", "Range"],
            expose_headers=EXPOSED,
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Tracing)
    return app


def new_state(settings: Settings, client: Client) -> State:
    """What the application holds while it runs."""
    to_prefect = client(settings.prefect, prefect.TIMEOUT_S)
    to_serving = client(settings.serving, settings.serving_timeout_s)
    to_mlflow = client(settings.mlflow, artifacts.TIMEOUT_S)
    serving, in_flight = Serving(to_serving), InFlight()
    return State(
        settings=settings,
        secret_key=secret_key(settings),
        limits=Limits(settings),
        hashing=CapacityLimiter(LOGINS_AT_ONCE),
        pages=CapacityLimiter(PAGES_AT_ONCE),
        kept_pages=KeptPages(),
        parsing=CapacityLimiter(UPLOADS_AT_ONCE),
        feed=Feed(settings.max_sockets_per_job),
        outbox=Outbox(prefect.Prefect(to_prefect)),
        serving=serving,
        artifacts=artifacts.Artifacts(to_mlflow),
        in_flight=in_flight,
        predictor=Predictor(settings, serving, in_flight),
        clients=(to_prefect, to_serving, to_mlflow),
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """First account, leftovers of uploads, then the outbox and the feed for as long as the API runs."""
    state: State = app.state.running
    await run_sync(auth_service.ensure_account, state.settings)
    await run_sync(sweeping.sweep)
    async with AsyncExitStack() as stack:
        for http in state.clients:
            await stack.enter_async_context(http)
        for task in (state.outbox.run, state.feed.run, partial(refresh, state)):
            await stack.enter_async_context(background(task))
        yield


async def refresh(state: State) -> None:
    """Compute what an earlier release made of the batteries again, one after the other, while the API serves."""
    for battery_id in await run_sync(refreshing.stale_batteries):
        if await run_sync(refreshing.refresh, battery_id, limiter=state.parsing):
            state.outbox.nudge()
    await asyncio.Event().wait()  # until the API ends


@asynccontextmanager
async def background(task: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run ``task`` beside the API; should it ever fail, say so and start it again."""

    async def kept_up() -> None:
        while True:
            try:
                await task()
            except Exception:
                log.exception("A background task failed; starting it again")
                await asyncio.sleep(1)

    running = asyncio.create_task(kept_up())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
