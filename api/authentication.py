"""Who is asking: decided for every request and socket before any of its body is read.

Everything needs a token except the exact (verb, path) pairs of ``PUBLIC``. FastAPI reads a whole body before it runs
dependencies, and HTTP middleware does not see sockets; so this is plain ASGI in front of both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from anyio.to_thread import run_sync
from starlette._utils import get_route_path  # private, but what the framework's own routers match
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import tokens
from api.errors import ApiError, MethodNotAllowed, NotFound, Unauthenticated, nothing_at, rendered
from api.limits import Limits
from api.routes import WEBSOCKET, Route, verbs_on
from store import users
from store.session import Glance, selecting
from store.settings import Settings
from store.tables import utc_now

COOKIE = "battery_session"
BASE = "/api/v1"
MOST_KNOWN = 1000
UPLOAD = ("POST", f"{BASE}/batteries")
PUBLIC = frozenset(
    {
        ("POST", f"{BASE}/auth/token"),
        ("GET", f"{BASE}/health"),
        ("GET", f"{BASE}/version"),
        ("GET", "/openapi.json"),
        ("HEAD", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/start.js"),
        ("GET", "/docs/swagger-ui-bundle.js"),
        ("GET", "/docs/swagger-ui.css"),
        ("GET", "/docs/favicon.png"),
        ("GET", "/"),
        ("GET", "/page/page.js"),
        ("GET", "/page/page.css"),
    }
)


@dataclass(frozen=True)
class Caller:
    """The account behind a request, and the token it came with."""

    id: int
    email: str
    created_at: datetime
    token: tokens.Token


async def caller_of(connection: HTTPConnection) -> Caller:
    """The caller that the middleware found; a dependency for endpoints."""
    caller = connection.scope["state"]["caller"]
    assert isinstance(caller, Caller)  # noqa: S101 - the middleware lets nobody else in
    return caller


class Authentication:
    """Lets through what is public and whoever shows a valid token; answers everything else itself."""

    def __init__(
        self, app: ASGIApp, settings: Settings, key: str, limits: Limits, routes: Callable[[], tuple[Route, ...]]
    ) -> None:
        self.app = app
        self.settings = settings
        self.key = key
        self.limits = limits
        self.routes = routes
        self.known = KnownCallers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = (scope["method"], get_route_path(scope))
        if asked not in PUBLIC:
            try:
                check_served(*asked, verbs_on(self.routes(), asked[1]) - {WEBSOCKET})
                caller = await self._caller(bearer_token(Headers(scope=scope)))
                (self.limits.upload if asked == UPLOAD else self.limits.call)(caller.id)
            except ApiError as error:
                await rendered(error, scope)(scope, receive, send)
                return
            scope["state"]["caller"] = caller
        await self.app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if WEBSOCKET not in verbs_on(self.routes(), get_route_path(scope)):
                raise NotFound(f"There is no WebSocket at {scope['path']}")
            token = socket_token(scope, self.settings.allowed_origins)
            scope["state"]["caller"] = await self._caller(token)
        except ApiError as error:
            scope["state"]["error_code"] = error.error_code
            await receive()
            # Accepted first: a browser only learns the code of a socket that was open.
            await send({"type": "websocket.accept", "subprotocol": subprotocol(scope)})
            await send({"type": "websocket.close", "code": 1008, "reason": error.error_code})
            return
        await self.app(scope, receive, send)

    async def _caller(self, encoded: str | None) -> Caller:
        if not encoded:
            raise Unauthenticated("MISSING_TOKEN", "This needs an access token: Authorization: Bearer <token>")
        if (known := self.known.get(encoded)) is not None:
            return known
        caller = await run_sync(_account, tokens.verified(encoded, self.key))
        self.known.keep(encoded, caller)
        return caller


class KnownCallers:
    """Callers whose token was verified and looked up before; each time it is asked whether they are still let in.

    So a token that was given up, here or by another process, is refused at once. Used by the event loop's thread alone.
    """

    def __init__(self) -> None:
        self._glance = Glance()
        self._callers: dict[str, Caller] = {}

    def get(self, encoded: str) -> Caller | None:
        """Who showed this token; None where that has to be looked up."""
        caller = self._callers.get(encoded)
        if caller is None:
            return None
        token = caller.token
        if token.expires_at > utc_now() and users.is_still_bearer(self._glance, caller.id, caller.email, token.jti):
            return caller
        del self._callers[encoded]
        return None

    def keep(self, encoded: str, caller: Caller) -> None:
        """Remember who showed it; of too many, all are forgotten."""
        if len(self._callers) >= MOST_KNOWN:
            self._callers.clear()
        self._callers[encoded] = caller


def _account(token: tokens.Token) -> Caller:
    with selecting() as connection:
        user = users.bearer(connection, token.email, token.jti)
    if user is None:
        raise Unauthenticated("INVALID_TOKEN", "The token was given up, or its account is gone")
    return Caller(user.id, user.email, user.created_at, token)


def check_still_valid(token: tokens.Token) -> None:
    """Raise Unauthenticated when the token has expired or was given up, or its account is gone."""
    if token.expires_at <= utc_now():
        raise Unauthenticated("TOKEN_EXPIRED", "The token has expired; sign in again")
    _account(token)


def check_served(verb: str, path: str, verbs: set[str]) -> None:
    """Raise NotFound or MethodNotAllowed, token or not: a slip should look like one, and /openapi.json is public."""
    if not verbs:
        raise nothing_at(path)
    if verb not in verbs:
        allowed = ", ".join(sorted(verbs))
        raise MethodNotAllowed(f"{verb} is not possible here; {allowed} is", headers={"Allow": allowed})


def bearer_token(headers: Headers) -> str | None:
    """The token of ``Authorization: Bearer …``."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def subprotocol(scope: Scope) -> str | None:
    """What the server chooses of ``["Bearer", <JWT>]``: never the token itself."""
    return "Bearer" if "Bearer" in scope.get("subprotocols", []) else None


def socket_token(scope: Scope, allowed_origins: list[str]) -> str | None:
    """The token of a socket: header, subprotocol pair, query, or the session cookie when an own page opens it."""
    headers = Headers(scope=scope)
    protocols = scope.get("subprotocols", [])
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if token := bearer_token(headers):
        return token
    if len(protocols) == 2 and protocols[0] == "Bearer":
        return str(protocols[1])
    if "token" in query:
        return str(query["token"][0])
    return session_cookie(headers) if own_origin(scope, allowed_origins) else None


def session_cookie(headers: Headers) -> str | None:
    """The token in the session cookie."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return str(morsel.value) if morsel else None


def own_origin(scope: Scope, allowed_origins: list[str]) -> bool:
    """True when the page that opens the socket was served by this API or by an allowed origin."""
    headers = Headers(scope=scope)
    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), "http")
    origin = headers.get("origin", "")
    return origin == f"{scheme}://{headers.get('host', '')}" or origin in allowed_origins
