"""Who may do what: tokens, the public list, and every route and socket without a token."""

import logging
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.websockets import WebSocketDisconnect

from api.auth.tokens import WeakKey
from api.routes import WEBSOCKET, routes_of
from store import session, users
from store.tables import RevokedToken, User

EMAIL = "user@example.com"
PASSWORD = "secretpassword"
CLAIMS = {"sub": EMAIL, "iat": int(time.time()), "exp": int(time.time()) + 600, "jti": "abc"}


def sign_in(platform: Any, username: str = EMAIL, password: str = PASSWORD) -> Any:
    return platform.http.post("/api/v1/auth/token", data={"username": username, "password": password})


def me(platform: Any, token: str) -> Any:
    return platform.http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


def key_of(platform: Any) -> str:
    return str(platform.app.state.running.secret_key)


PUBLIC = {
    ("POST", "/api/v1/auth/token"),
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/version"),
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
}  # written out here: what is added to the server's list has to be added to this one too


class TestEveryRoute:
    def test_refuses_without_a_token_unless_it_is_on_the_public_list(self, anonymous: Any) -> None:
        asked = 0
        for route in routes_of(anonymous.app):
            path = re.sub(r"{\w+}", "1", route.path)
            for verb in route.verbs:
                asked += 1
                if verb == WEBSOCKET:
                    with pytest.raises(WebSocketDisconnect) as closed, anonymous.http.websocket_connect(path) as socket:
                        socket.receive_text()
                    assert closed.value.code == 1008, path
                elif (verb, path) not in PUBLIC:
                    answer = anonymous.http.request(verb, path)
                    assert answer.status_code == 401, (verb, path)
                    assert verb == "HEAD" or answer.json()["error"]["code"] == "MISSING_TOKEN"
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert asked > 30

    def test_that_is_public_answers_without_a_token(self, anonymous: Any) -> None:
        served = {(verb, route.path) for route in routes_of(anonymous.app) for verb in route.verbs}
        assert served >= PUBLIC
        for verb, path in PUBLIC - {("POST", "/api/v1/auth/token")}:
            assert anonymous.http.request(verb, path).status_code == 200, path

    @pytest.mark.parametrize(
        "path",
        [
            "/api/v1/models/1/api/v1/health",
            "/api/v1/batteries/health",
            "/api/v1/health/../batteries",
            "//api/v1/batteries",
        ],
    )
    def test_cannot_be_reached_by_looking_public(self, anonymous: Any, path: str) -> None:
        assert anonymous.http.get(path).status_code in {401, 404}


class TestUploadWithoutToken:
    def test_is_refused_before_its_body_is_read(self, anonymous: Any) -> None:
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body was read")

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/batteries",
            "query_string": b"",
            "headers": [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"1000")],
        }
        anonymous.http.portal.call(anonymous.app, scope, receive, send)
        assert messages[0]["status"] == 401


class TestSignIn:
    def test_gives_a_bearer_token_with_the_claims_of_the_contract(self, anonymous: Any) -> None:
        answer = sign_in(anonymous)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["token_type"], body["expires_in"]) == ("bearer", 3600)
        claims = jwt.decode(body["access_token"], key_of(anonymous), algorithms=["HS256"])
        assert claims["sub"] == EMAIL
        assert claims["exp"] - claims["iat"] == 3600
        assert len(claims["jti"]) == 32
        assert jwt.get_unverified_header(body["access_token"])["alg"] == "HS256"

    def test_sets_a_cookie_that_scripts_and_other_sites_cannot_use(self, anonymous: Any) -> None:
        cookie = sign_in(anonymous).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/api/v1/training-jobs" in cookie
        assert "Secure" not in cookie

    def test_on_https_sets_a_secure_cookie(self, anonymous: Any) -> None:
        form = {"username": EMAIL, "password": PASSWORD}
        answer = anonymous.http.post("https://localhost:8000/api/v1/auth/token", data=form)
        assert "; Secure" in answer.headers["set-cookie"]

    @pytest.mark.parametrize(
        ("username", "password"), [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), (EMAIL, "")]
    )
    def test_with_wrong_credentials_is_401(self, anonymous: Any, username: str, password: str) -> None:
        answer = anonymous.http.post("/api/v1/auth/token", data={"username": username, "password": password})
        if password:
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_CREDENTIALS")
            assert answer.json()["error"]["message"] == "Incorrect username or password"
            assert "set-cookie" not in answer.headers
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "MISSING_REQUIRED_FIELD")

    def test_takes_the_address_in_any_case(self, anonymous: Any) -> None:
        assert sign_in(anonymous, "User@Example.COM").status_code == 200

    def test_hashes_a_password_for_an_unknown_account_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checked: list[str] = []
        verify = users.HASHER.verify

        def remembered(password: str, hashed: str) -> bool:
            checked.append(hashed)
            return verify(password, hashed)

        monkeypatch.setattr(users.HASHER, "verify", remembered)
        assert not users.password_matches(None, "x")
        assert not users.password_matches(users.HASHER.hash("y"), "x")
        cost = {hashed.rsplit("$", 2)[0] for hashed in checked}
        assert cost == {"$argon2id$v=19$m=19456,t=2,p=1"}


class TestLoginLimit:
    def test_refuses_the_eleventh_try_of_an_account_and_says_when_to_come_back(self, make: Any) -> None:
        platform = make(login_limit="10/minute")
        for _ in range(10):
            assert sign_in(platform, password="wrong").status_code == 401
        answer = sign_in(platform)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["X-RateLimit-Limit"] == "10"
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert time.time() < int(answer.headers["X-RateLimit-Reset"]) <= time.time() + 61
        assert sign_in(platform, "other@example.com").status_code == 401


class TestCallLimits:
    def test_are_off_by_default(self, platform: Any) -> None:
        assert {platform.http.get("/api/v1/auth/me").status_code for _ in range(120)} == {200}

    def test_count_uploads_and_other_calls_apart(self, make: Any) -> None:
        platform = make(upload_limit="1/minute", call_limit="2/minute").sign_in()
        uploads = [platform.http.post("/api/v1/batteries", json={}).status_code for _ in range(2)]
        calls = [platform.http.get("/api/v1/batteries").status_code for _ in range(3)]
        assert (uploads, calls) == ([422, 429], [200, 200, 429])


class TestToken:
    def test_tells_who_is_signed_in(self, platform: Any) -> None:
        account = platform.http.get("/api/v1/auth/me").json()
        assert account.keys() == {"id", "username", "email", "created_at"}
        assert (account["id"], account["username"], account["email"]) == (1, EMAIL, EMAIL)

    def test_is_refused_after_logout_and_the_cookie_is_cleared(self, anonymous: Any) -> None:
        token, other = sign_in(anonymous).json()["access_token"], sign_in(anonymous).json()["access_token"]
        answer = anonymous.http.post("/api/v1/auth/logout", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert me(anonymous, token).json()["error"]["code"] == "INVALID_TOKEN"
        assert me(anonymous, other).status_code == 200

    def test_that_expired_is_said_to_have(self, anonymous: Any) -> None:
        token = jwt.encode(CLAIMS | {"exp": int(time.time()) - 1}, key_of(anonymous), "HS256")
        answer = me(anonymous, token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN_EXPIRED")

    @pytest.mark.parametrize("missing", ["sub", "exp", "iat", "jti"])
    def test_without_a_claim_is_refused(self, anonymous: Any, missing: str) -> None:
        claims = {name: value for name, value in CLAIMS.items() if name != missing}
        assert me(anonymous, jwt.encode(claims, key_of(anonymous), "HS256")).status_code == 401

    def test_with_all_claims_and_our_key_is_taken(self, anonymous: Any) -> None:
        assert me(anonymous, jwt.encode(CLAIMS, key_of(anonymous), "HS256")).status_code == 200

    @pytest.mark.parametrize("algorithm", ["none", "HS512"])
    def test_of_another_algorithm_is_refused(self, anonymous: Any, algorithm: str) -> None:
        key = "" if algorithm == "none" else key_of(anonymous)
        token = jwt.encode(CLAIMS, key, algorithm)
        assert me(anonymous, token).json()["error"]["code"] == "INVALID_TOKEN"

    def test_of_another_key_is_refused(self, anonymous: Any) -> None:
        assert me(anonymous, jwt.encode(CLAIMS, "k" * 40, "HS256")).status_code == 401

    def test_of_an_account_that_is_gone_is_refused(self, platform: Any) -> None:
        with session.transaction() as opened:
            opened.delete(opened.get_one(User, 1))
        assert platform.http.get("/api/v1/auth/me").status_code == 401

    def test_given_up_long_ago_is_forgotten(self, platform: Any) -> None:
        with session.transaction() as opened:
            users.revoke(opened, "old", datetime(2020, 1, 1, tzinfo=UTC))
        platform.http.post("/api/v1/auth/logout")
        with session.reading() as opened:
            assert opened.get(RevokedToken, "old") is None

    def test_never_reaches_a_log(self, anonymous: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        token = anonymous.token()
        me(anonymous, token)
        url = f"/api/v1/training-jobs/7/ws?token={token}"
        with anonymous.http.websocket_connect(url) as socket, pytest.raises(WebSocketDisconnect):
            socket.receive_text()
        logged = [record.getMessage() for record in caplog.records if record.name.startswith(("api", "store"))]
        assert any("/api/v1/training-jobs/7/ws" in line for line in logged)
        assert not any(token in line or PASSWORD in line for line in logged)


class TestSecretKey:
    def test_is_made_once_and_kept_private(self, make: Any, tmp_path: Path) -> None:
        first = key_of(make())
        assert (tmp_path / "var" / "secret_key").stat().st_mode & 0o777 == 0o600
        assert len(first) >= 32
        assert key_of(make()) == first

    @pytest.mark.parametrize("weak", ["short", "a" * 64])
    def test_that_is_weak_is_refused_outside_loopback(self, make: Any, weak: str) -> None:
        with pytest.raises(WeakKey):
            make(secret_key=weak, host="0.0.0.0")  # noqa: S104 - never bound
