"""A caller whose token was verified is known from then on, and let in for as long as the database lets it in."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from api import authentication
from api.auth.tokens import Token
from api.authentication import Caller, KnownCallers
from api.batteries.kept_pages import KeptPages
from store import users
from store.session import transaction
from store.tables import User, utc_now


def caller(lifetime_s: float = 60) -> Caller:
    """The caller of a token of the account that the platform was made with."""
    with transaction() as session:
        user = session.scalars(select(User)).one()
    return Caller(user.id, user.email, user.created_at, Token(user.email, "jti", utc_now() + timedelta(0, lifetime_s)))


def asked_at_once(platform: Any) -> bool:
    """Whether the database can be; PostgreSQL is asked the long way for every request."""
    return platform.settings.database_url is None


@pytest.mark.usefixtures("platform")
class TestKnownCallers:
    def test_are_known_by_the_token_that_they_showed(self, platform: Any) -> None:
        known, somebody = KnownCallers(), caller()
        known.keep("token", somebody)
        assert known.get("token") is (somebody if asked_at_once(platform) else None)
        assert known.get("other") is None

    def test_are_not_known_once_their_token_is_given_up(self) -> None:
        known, somebody = KnownCallers(), caller()
        known.keep("token", somebody)
        with transaction() as session:
            users.revoke(session, somebody.token.jti, somebody.token.expires_at)
        assert known.get("token") is None

    @pytest.mark.parametrize("change", [{"email": "other@example.com"}, {}])
    def test_are_not_known_once_their_account_is_gone_or_another(self, change: dict[str, str]) -> None:
        known = KnownCallers()
        known.keep("token", caller())
        with transaction() as session:
            if change:
                session.scalars(select(User)).one().email = change["email"]
            else:
                session.execute(delete(User))
        assert known.get("token") is None

    def test_are_forgotten_when_their_token_expires(self) -> None:
        known = KnownCallers()
        known.keep("token", caller(lifetime_s=-1))
        assert known.get("token") is None

    def test_are_no_more_than_a_thousand(self, platform: Any) -> None:
        known, somebody = KnownCallers(), caller()
        for number in range(authentication.MOST_KNOWN + 1):
            known.keep(str(number), somebody)
        assert known.get("0") is None
        assert known.get(str(authentication.MOST_KNOWN)) is (somebody if asked_at_once(platform) else None)


class TestRequests:
    def test_verify_a_token_once_whatever_is_committed(self, platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        looked_up = []
        account = authentication._account

        def counted(token: Token) -> Caller:
            looked_up.append(token.jti)
            return account(token)

        monkeypatch.setattr(authentication, "_account", counted)
        for number in range(3):
            assert platform.http.get("/api/v1/auth/me").status_code == 200
            with transaction() as session:
                session.add(User(email=f"{number}@example.com", password_hash="x"))
        assert len(looked_up) == (1 if asked_at_once(platform) else 3)

    def test_with_a_token_that_was_given_up_are_refused_at_once(self, platform: Any) -> None:
        for _ in range(3):
            assert platform.http.get("/api/v1/auth/me").status_code == 200
        assert platform.http.post("/api/v1/auth/logout").status_code == 204
        answer = platform.http.get("/api/v1/auth/me")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_TOKEN")

    def test_of_an_account_that_is_gone_are_refused_at_once(self, platform: Any) -> None:
        assert platform.http.get("/api/v1/auth/me").status_code == 200
        with transaction() as session:
            session.execute(delete(User))
        assert platform.http.get("/api/v1/auth/me").status_code == 401


class TestKeptPages:
    def test_forget_the_one_that_was_not_asked_for_the_longest(self) -> None:
        pages = KeptPages(most_bytes=40)
        for tag in "abcd":
            pages.keep(tag, tag.encode() * 10)
        assert pages.get("a") == b"a" * 10
        pages.keep("e", b"e" * 10)
        assert [tag for tag in "abcde" if pages.get(tag)] == ["a", "c", "d", "e"]

    def test_do_not_keep_what_would_take_the_place_of_many(self) -> None:
        pages = KeptPages(most_bytes=40)
        pages.keep("a", bytes(11))
        assert pages.get("a") is None

    def test_count_a_page_once(self) -> None:
        pages = KeptPages(most_bytes=40)
        for _ in range(9):
            pages.keep("a", b"a" * 10)
        for tag in "bcd":
            pages.keep(tag, b"b" * 10)
        assert pages.get("a") == b"a" * 10
