"""How many calls an account may make in a while (library ``limits``, moving window, counted in this process)."""

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.errors import RateLimitExceeded
from store.settings import Settings


class Limits:
    """The three limits of the settings; an empty setting is no limit."""

    def __init__(self, settings: Settings) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._login = _parsed(settings.login_limit)
        self._upload = _parsed(settings.upload_limit)
        self._call = _parsed(settings.call_limit)

    def login(self, account: str, address: str) -> None:
        """Count a login of ``account`` from ``address``. Raises RateLimitExceeded."""
        self._count(self._login, "login", account, address)

    def upload(self, user_id: int) -> None:
        """Count an upload. Raises RateLimitExceeded."""
        self._count(self._upload, "upload", str(user_id))

    def call(self, user_id: int) -> None:
        """Count any other call. Raises RateLimitExceeded."""
        self._count(self._call, "call", str(user_id))

    def _count(self, limit: RateLimitItem | None, *key: str) -> None:
        if limit is None or self._window.hit(limit, *key):
            return
        stats = self._window.get_window_stats(limit, *key)
        wait_s = max(1, math.ceil(stats.reset_time - time.time()))
        raise RateLimitExceeded(
            f"At most {limit.amount} in {limit.get_expiry()} s; try again in {wait_s} s",
            headers={
                "Retry-After": str(wait_s),
                "X-RateLimit-Limit": str(limit.amount),
                "X-RateLimit-Remaining": str(stats.remaining),
                "X-RateLimit-Reset": str(math.ceil(stats.reset_time)),
            },
        )


def _parsed(limit: str) -> RateLimitItem | None:
    return parse(limit) if limit else None
