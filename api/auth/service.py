"""Signing in and out."""

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from api.auth import tokens
from api.errors import Unauthenticated
from store import users
from store.session import reading, transaction
from store.settings import Settings


async def sign_in(username: str, password: str, *, settings: Settings, key: str, hashing: CapacityLimiter) -> str:
    """A new token. Raises Unauthenticated; ``hashing`` bounds how many passwords are checked at once (19 MiB each)."""
    password_hash = await run_sync(_password_hash, username)
    if not await run_sync(users.password_matches, password_hash, password, limiter=hashing):
        raise Unauthenticated("INVALID_CREDENTIALS", "Incorrect username or password")
    return tokens.issue(users.normalised(username), key, settings.token_lifetime_s)


def _password_hash(username: str) -> str | None:
    with reading() as session:
        user = users.find(session, username)
        return None if user is None else user.password_hash


def sign_out(token: tokens.Token) -> None:
    """Refuse this token from now on."""
    with transaction() as session:
        users.revoke(session, token.jti, token.expires_at)


def ensure_account(settings: Settings) -> None:
    """Make the account of BATTERY_ADMIN_EMAIL when it does not exist."""
    if settings.admin_email is None or settings.admin_password is None:
        return
    with transaction() as session:
        users.ensure(session, settings.admin_email, settings.admin_password.get_secret_value())
