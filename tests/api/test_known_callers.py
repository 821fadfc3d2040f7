"""Callers are remembered only while nothing at all is committed."""

from datetime import timedelta
from typing import Any

import pytest

from api import authentication
from api.auth.tokens import Token
from api.authentication import Caller, KnownCallers
from api.batteries.kept_pages import KeptPages
from store.session import transaction
from store.tables import User, utc_now


def caller(lifetime_s: float = 60) -> Caller:
    return Caller(1, "a@b.c", utc_now(), Token("a@b.c", "jti", utc_now() + timedelta(seconds=lifetime_s)))


def commit(name: str) -> None:
    with transaction() as session:
        session.add(User(email=name, password_hash="x"))


@pytest.mark.usefixtures("platform")
class TestKnownCallers:
    def test_are_known_until_something_is_committed(self) -> None:
        known, somebody = KnownCallers(), caller()
        known.keep("token", somebody, known.state())
        known.state()
        assert known.get("token") is somebody
        assert known.get("other") is None
        commit("one@example.com")
        known.state()
        assert known.get("token") is None

    def test_that_were_looked_up_before_a_commit_are_not_kept_after_it(self) -> None:
        known = KnownCallers()
        before = known.state()
        commit("one@example.com")
        after = known.state()
        known.keep("token", caller(), before)
        assert known.get("token") is None
        known.keep("token", caller(), after)
        assert known.get("token") is not None

    def test_are_forgotten_when_their_token_expires(self) -> None:
        known = KnownCallers()
        known.keep("token", caller(lifetime_s=-1), known.state())
        assert known.get("token") is None


class TestRequests:
    def test_look_an_account_up_once_and_again_after_a_commit(
        self, platform: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_up = []
        account = authentication._account

        def counted(token: Token) -> Caller:
            looked_up.append(token.jti)
            return account(token)

        monkeypatch.setattr(authentication, "_account", counted)
        for _ in range(3):
            assert platform.http.get("/api/v1/auth/me").status_code == 200
        assert len(looked_up) <= 1
        commit("one@example.com")
        assert platform.http.get("/api/v1/auth/me").status_code == 200
        assert 1 <= len(looked_up) <= 2

    def test_with_a_token_that_was_given_up_are_refused_at_once(self, platform: Any) -> None:
        for _ in range(3):
            assert platform.http.get("/api/v1/auth/me").status_code == 200
        assert platform.http.post("/api/v1/auth/logout").status_code == 204
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
