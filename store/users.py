"""Accounts and the tokens they gave up.

Passwords are kept as argon2id hashes (19 MiB, two passes: the minimum that OWASP's password storage sheet gives), so
that a few logins at once do not need more memory than the whole API.
"""

from datetime import datetime
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Connection, Row, Select, bindparam, delete, select
from sqlalchemy.orm import Session

from store.session import Glance, wait_for_turn
from store.tables import RevokedToken, User, utc_now

HASHER = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
SHORTEST_PASSWORD = 8
ACCOUNTS = 0x75736572  # advisory lock: any number, the same in every process of the platform
STILL_THERE = """
    SELECT 1 FROM users WHERE id = ? AND email = ? AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)
"""
# Checked when the account is unknown, so that the answer takes as long as for a known one.
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$0rIi4TjHJ19PLdgTsFlZYA$cLov6WL+hcaXP4ERitdC9H8MBAHHFJGF1XOeTU2+nHE"


class AccountError(ValueError):
    """The account cannot be made; the message says why."""


def normalised(email: str) -> str:
    """Addresses are compared without case or surrounding blanks."""
    return email.strip().casefold()


def find(session: Session, email: str) -> User | None:
    """The account of this address."""
    return session.scalar(select(User).where(User.email == normalised(email)))


def add(session: Session, email: str, password: str) -> User:
    """Make an account. Raises AccountError for an address that is taken or none, or a password that is too short."""
    address = normalised(email)
    if "@" not in address[1:-1] or len(address) > 320:
        raise AccountError(f"{email!r} is not an e-mail address")
    if len(password) < SHORTEST_PASSWORD:
        raise AccountError(f"the password needs at least {SHORTEST_PASSWORD} characters")
    if find(session, address) is not None:
        raise AccountError(f"{address} already has an account")
    user = User(email=address, password_hash=HASHER.hash(password))
    session.add(user)
    session.flush()
    return user


def ensure(session: Session, email: str, password: str) -> None:
    """Make an account unless there is one; of processes that start at once one makes it. Raises AccountError."""
    wait_for_turn(session.connection(), ACCOUNTS)
    if find(session, email) is None:
        add(session, email, password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """True when the password is the account's; takes as long for ``None``, no account.

    About 20 ms: call it outside transactions.
    """
    matches = HASHER.verify(password, password_hash or NOBODY)
    return matches and password_hash is not None


def revoke(session: Session, jti: str, expires_at: datetime) -> None:
    """Refuse the token ``jti`` from now on; forget those that have expired meanwhile."""
    session.execute(delete(RevokedToken).where(RevokedToken.expires_at < utc_now()))
    session.merge(RevokedToken(jti=jti, expires_at=expires_at))


def bearer(connection: Connection, email: str, jti: str) -> Row[tuple[int, str, datetime]] | None:
    """``id``, ``email`` and ``created_at`` of the account that a valid token of ``email`` stands for.

    None when the token was logged out or the account is gone.
    """
    return connection.execute(_bearer(), {"address": normalised(email), "token": jti}).first()


def is_still_bearer(glance: Glance, user_id: int, email: str, jti: str) -> bool:
    """Whether a caller that ``bearer`` found is still let in; False too where that cannot be told at once."""
    return glance.finds(STILL_THERE, (user_id, email, jti))


@cache
def _bearer() -> Select[tuple[int, str, datetime]]:
    revoked = select(RevokedToken.jti).where(RevokedToken.jti == bindparam("token")).exists()
    return select(User.id, User.email, User.created_at).where(User.email == bindparam("address"), ~revoked)
