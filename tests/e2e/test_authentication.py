"""Signing in and out, tokens and cookies, on the live API."""

import pytest
import requests


class TestAuthentication:
    def test_login_gives_a_token_that_me_accepts(self, account, stranger, login):
        answer = stranger.login(*account)
        assert answer.status_code == 200
        assert set(answer.json()) >= {"access_token", "token_type", "expires_in"}
        me = login(*account).get("/auth/me")
        assert set(me) >= {"id", "username", "email", "created_at"}
        assert me["email"] == account[0]
        assert me["created_at"].endswith("Z")

    def test_login_sets_a_session_cookie_that_scripts_and_other_sites_cannot_use(self, account, stranger):
        cookie = stranger.login(*account).headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie  # plain HTTP

    def test_the_cookie_opens_no_rest_call(self, stack, account, expect_error):
        browser = requests.Session()
        login = {"username": account[0], "password": account[1]}
        assert browser.post(f"{stack.root}/api/v1/auth/token", data=login, timeout=10).status_code == 200
        assert browser.cookies
        expect_error(browser.get(f"{stack.root}/api/v1/training-jobs", timeout=10), 401, "MISSING_TOKEN")

    def test_logout_refuses_the_token_from_then_on(self, account, login, expect_error):
        session = login(*account)
        assert session.get("/auth/me")
        answer = session("POST", "/auth/logout")
        assert (answer.status_code, answer.content) == (204, b"")
        expect_error(session("GET", "/auth/me"), 401, "INVALID_TOKEN")

    def test_wrong_credentials_read_the_same_for_known_and_unknown_accounts(self, account, stranger, expect_error):
        for name in (account[0], "nobody@example.com"):
            error = expect_error(stranger.login(name, "wrong"), 401, "INVALID_CREDENTIALS")
            assert error["message"] == "Incorrect username or password"

    def test_a_login_without_password_names_the_field(self, stranger, expect_error):
        answer = stranger("POST", "/auth/token", data={"username": "a@example.com"})
        expect_error(answer, 422, "MISSING_REQUIRED_FIELD", "password")

    @pytest.mark.parametrize(
        "token",
        [
            "nonsense",
            "a.b.c",
            # {"alg":"none"} with the claims of an administrator
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0."
            "eyJzdWIiOiJhZG1pbkBleGFtcGxlLmNvbSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxLCJqdGkiOiJ4In0.",
        ],
    )
    def test_a_token_that_we_did_not_sign_is_invalid(self, stack, expect_error, token):
        answer = requests.get(
            f"{stack.root}/api/v1/batteries", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        expect_error(answer, 401, "INVALID_TOKEN")

    def test_a_token_signed_with_another_key_is_invalid(self, api, stack, expect_error):
        head, body, signature = api.token.split(".")
        forged = ".".join([head, body, signature[::-1]])
        answer = requests.get(
            f"{stack.root}/api/v1/batteries", headers={"Authorization": f"Bearer {forged}"}, timeout=10
        )
        expect_error(answer, 401, "INVALID_TOKEN")

    def test_an_eleventh_login_in_a_minute_is_told_when_to_come_back(self, stranger, expect_error):
        tries = [stranger.login("guessed@example.com", f"guess {number}") for number in range(11)]
        for answer in tries[:10]:
            expect_error(answer, 401, "INVALID_CREDENTIALS")
        expect_error(tries[10], 429, "RATE_LIMIT_EXCEEDED")
        headers = tries[10].headers
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert headers["X-RateLimit-Limit"] == "10"
        assert headers["X-RateLimit-Remaining"] == "0"
        assert float(headers["X-RateLimit-Reset"]) > 0
