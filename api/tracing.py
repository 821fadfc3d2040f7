"""The outermost layer: a name for every request, a log line for it, and an answer when something unforeseen happens."""

import logging
import secrets
import time

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import LONGEST_SHOWN, DatabaseError, InternalError, rendered, trace_id_of

log = logging.getLogger("api.access")


class Tracing:
    """Gives each request its ``trace_id``: in ``X-Request-ID``, every error, and the log. Queries are never logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        trace_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["trace_id"] = trace_id
        started = time.perf_counter()
        status = 0

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept"):
                status = int(message.get("status", 101))
                MutableHeaders(raw=_header_list(message))["X-Request-ID"] = trace_id
            elif message["type"] == "websocket.close":
                status = int(message.get("code", 1000))
            await send(message)

        try:
            await self.app(scope, receive, traced)
        finally:
            log.info(
                "%s %s %s %s %s %.1f ms",
                trace_id,
                scope.get("method", "WEBSOCKET"),
                _printable(scope["path"]),
                status,
                scope["state"].get("error_code", "-"),
                1000 * (time.perf_counter() - started),
            )


class Failures:
    """Answers what nobody foresaw with the envelope and a 500, inside the layers that add headers, and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as failure:
            trace_id = trace_id_of(scope)
            log.exception("%s failed", trace_id)
            if scope["type"] == "websocket" or started:
                raise
            error = DatabaseError if isinstance(failure, SQLAlchemyError) else InternalError
            message = f"Something went wrong on the server; its log has the details under {trace_id}"
            await rendered(error(message), scope)(scope, receive, send)


def _header_list(message: Message) -> list[tuple[bytes, bytes]]:
    headers = list(message.get("headers") or [])
    message["headers"] = headers
    return headers


def _printable(path: str) -> str:
    """A path that can neither forge log lines nor command the terminal that shows them."""
    return path.encode("unicode_escape").decode()[:LONGEST_SHOWN]
