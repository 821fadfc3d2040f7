"""The FastAPI application, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import handlers
from api.auth import endpoints as auth
from api.auth import service as auth_service
from api.auth.tokens import secret_key
from api.authentication import BASE, Authentication
from api.bodies import BodyLimit
from api.documentation import DESCRIPTION
from api.headers import SecurityHeaders
from api.health import endpoints as health
from api.health.service import release
from api.limits import Limits
from api.page import endpoints as page
from api.routes import Route, routes_of
from api.state import State
from api.tracing import Tracing
from store.settings import Settings

LOGINS_AT_ONCE = 2


def create_app(settings: Settings) -> FastAPI:
    """The API for these settings. Raises WeakKey when its key is weak and it binds outside loopback."""
    state = State(
        settings=settings,
        secret_key=secret_key(settings),
        limits=Limits(settings),
        hashing=CapacityLimiter(LOGINS_AT_ONCE),
    )
    app = FastAPI(
        title="Battery Life Analysis Platform",
        version=release(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.running = state
    versioned = APIRouter(prefix=BASE)
    for noun in (health, auth):
        versioned.include_router(noun.router)
    app.include_router(versioned)
    app.include_router(page.router)
    handlers.install(app)

    @cache
    def routes() -> tuple[Route, ...]:
        return routes_of(app)

    # Each layer wraps those added before it: the last one is the outermost.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Authentication, settings=settings, key=state.secret_key, limits=state.limits, routes=routes)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["X-Request-ID", "Retry-After", "Content-Disposition"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Tracing)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the first account before the first request."""
    state: State = app.state.running
    await run_sync(auth_service.ensure_account, state.settings)
    yield
