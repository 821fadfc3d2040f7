"""Accounts in the database: made once, found in any case, and only with a password worth the name."""

from typing import Any

import pytest

from store import session, users


class TestAdd:
    def test_keeps_a_hash_and_finds_the_account_in_any_case(self, anonymous: Any) -> None:
        with session.transaction() as opened:
            user = users.add(opened, " Lab@Example.com ", "long enough")
            assert user.email == "lab@example.com"
            assert "long enough" not in user.password_hash
        with session.reading() as opened:
            found = users.find(opened, "LAB@example.COM")
        assert found is not None
        assert users.password_matches(found.password_hash, "long enough")
        assert not users.password_matches(found.password_hash, "long enough ")

    @pytest.mark.parametrize(
        ("email", "password"),
        [("user@example.com", "long enough"), ("nobody", "long enough"), ("@x", "long enough"), ("a@b", "short")],
    )
    def test_refuses_taken_addresses_no_addresses_and_short_passwords(
        self, anonymous: Any, email: str, password: str
    ) -> None:
        with session.transaction() as opened, pytest.raises(users.AccountError):
            users.add(opened, email, password)

    def test_at_start_leaves_an_account_that_exists_as_it_is(self, make: Any) -> None:
        make()
        again = make(admin_password="another password")
        form = {"username": "user@example.com", "password": "secretpassword"}
        assert again.http.post("/api/v1/auth/token", data=form).status_code == 200
