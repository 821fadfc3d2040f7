"""Access tokens (JWT, HS256) and the key that signs them."""

import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from api.errors import Unauthenticated
from store.files import private_folder
from store.settings import Settings
from store.tables import utc_now

ALGORITHM = "HS256"
SHORTEST_KEY = 32  # bytes; RFC 7518, section 3.2
FEWEST_SYMBOLS = 8  # a key with fewer different bytes is no random one


class WeakKey(ValueError):
    """The configured key is too weak to be reachable from other machines."""


@dataclass(frozen=True)
class Token:
    """The claims of a valid token."""

    email: str
    jti: str
    expires_at: datetime


def issue(email: str, key: str, lifetime_s: int) -> str:
    """A new token for the account ``email``."""
    now = utc_now()
    claims = {"sub": email, "iat": now, "exp": now + timedelta(seconds=lifetime_s), "jti": secrets.token_hex(16)}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def verified(encoded: str, key: str) -> Token:
    """The claims of ``encoded``. Raises Unauthenticated: TOKEN_EXPIRED, or INVALID_TOKEN for all else that is wrong."""
    try:
        claims = jwt.decode(encoded, key, algorithms=[ALGORITHM], options={"require": ["exp", "iat", "jti", "sub"]})
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("TOKEN_EXPIRED", "The token has expired; sign in again") from error
    except jwt.PyJWTError as error:
        raise Unauthenticated("INVALID_TOKEN", "The token is not valid") from error
    return Token(str(claims["sub"]), str(claims["jti"]), datetime.fromtimestamp(claims["exp"], UTC))


def secret_key(settings: Settings) -> str:
    """The signing key: the configured one, else one made on first use and kept in ``var/secret_key`` (mode 0600).

    Raises WeakKey when a configured key is weak and the API binds outside loopback.
    """
    if settings.secret_key is None:
        return kept_key(settings.var / "secret_key")
    key = settings.secret_key.get_secret_value()
    weak = len(key.encode()) < SHORTEST_KEY or len(set(key)) < FEWEST_SYMBOLS
    if weak and not is_loopback(settings.host):
        raise WeakKey(
            f"BATTERY_SECRET_KEY must be at least {SHORTEST_KEY} random bytes when the API binds to {settings.host}"
        )
    return key


def kept_key(path: Path) -> str:
    """The key in ``path``; made when there is none. Two processes that start at once end up with the same one."""
    if not path.exists():
        private_folder(path.parent)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # the other process was first: its key counts
        finally:
            draft.unlink()
    return path.read_text().strip()


def is_loopback(host: str) -> bool:
    """True when only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
