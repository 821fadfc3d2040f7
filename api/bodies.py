"""How large a body may be, counted while it arrives."""

from starlette._utils import get_route_path  # private, but what the framework's own routers match
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.authentication import BASE, PUBLIC, UPLOAD
from api.errors import TooLarge, rendered
from store.settings import Settings

FORM_BYTES = 64 * 1024  # a login; and what an upload holds beside its file
BATCH = ("POST", f"{BASE}/predictions/batch")
BATCH_BYTES = 8 * 1024 * 1024  # 50 predictions with cycle data of some 5000 points each
JSON_BYTES = 4 * 1024 * 1024  # one, with some 100,000


class BodyLimit:
    """Answers 413 as soon as a body is known to be too large: by its Content-Length, else by the bytes that came."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        largest = self._largest((scope["method"], get_route_path(scope)))
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > largest:
                raise TooLarge(too_large(largest))
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            check_declared(Headers(scope=scope), largest)
            await self.app(scope, counted, watched)
        except TooLarge as error:
            if started:
                raise
            await rendered(error, scope)(scope, receive, send)
        except ClientDisconnect:
            scope["state"]["error_code"] = "CLIENT_GONE"

    def _largest(self, asked: tuple[str, str]) -> int:
        if asked == UPLOAD:
            return self.settings.max_upload_bytes + FORM_BYTES
        if asked == BATCH:
            return BATCH_BYTES
        return FORM_BYTES if asked in PUBLIC else JSON_BYTES


def check_declared(headers: Headers, largest: int) -> None:
    """Raise TooLarge when the body says of itself that it is."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > largest:
        raise TooLarge(too_large(largest))


def too_large(largest: int) -> str:
    """What is said of a body above ``largest`` bytes."""
    mib = largest / 1024**2
    return f"The body is larger than {mib:.0f} MB" if mib >= 1 else f"The body is larger than {largest} bytes"
