"""The one envelope: everything that goes wrong is said in it, with an id that is in the log."""

import logging
from typing import Any

import pytest
from openapi_spec_validator import validate
from sqlalchemy.exc import OperationalError

from api.health import service


def envelope(answer: Any) -> dict[str, Any]:
    body = answer.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert {"code", "message", "trace_id"} <= error.keys() <= {"code", "message", "details", "trace_id"}
    assert error["trace_id"] == answer.headers["X-Request-ID"]
    assert error["trace_id"].startswith("req_")
    return error


class TestEnvelope:
    @pytest.mark.parametrize("who", ["platform", "anonymous"])
    def test_of_an_unknown_path(self, who: str, request: pytest.FixtureRequest) -> None:
        answer = request.getfixturevalue(who).http.get("/api/v1/nothing")
        assert answer.status_code == 404
        assert envelope(answer)["code"] == "RESOURCE_NOT_FOUND"

    def test_of_a_long_path_names_its_beginning(self, platform: Any) -> None:
        error = envelope(platform.http.get(f"/api/v1/{'a' * 50_000}"))
        assert error["message"] == f"There is nothing at /api/v1/{'a' * 192}…"

    @pytest.mark.parametrize(
        ("verb", "path", "allowed"),
        [
            ("PUT", "/api/v1/batteries", "GET, POST"),
            ("POST", "/api/v1/batteries/1", "DELETE, GET, PATCH"),
            ("GET", "/api/v1/auth/token", "POST"),
        ],
    )
    def test_of_a_wrong_verb_lists_the_right_ones(self, platform: Any, verb: str, path: str, allowed: str) -> None:
        answer = platform.http.request(verb, path)
        assert answer.status_code == 405
        assert envelope(answer)["code"] == "METHOD_NOT_ALLOWED"
        assert answer.headers["Allow"] == allowed

    @pytest.mark.parametrize("body", ["{", "", "[1,", '{"algorithm": "bilstm",}', "\x00"])
    def test_of_malformed_json(self, platform: Any, body: str) -> None:
        headers = {"Content-Type": "application/json"}
        answer = platform.http.post("/api/v1/training-jobs", content=body, headers=headers)
        assert answer.status_code == 422
        assert envelope(answer)["code"] in {"VALIDATION_ERROR", "MISSING_REQUIRED_FIELD"}

    @pytest.mark.parametrize(
        ("path", "sent", "field", "issue"),
        [
            (
                "/api/v1/training-jobs",
                {"content": "{}", "headers": {"Content-Type": "text/plain"}},
                "body",
                "Must be a JSON object; send JSON (Content-Type: application/json)",
            ),
            (
                "/api/v1/training-jobs",
                {"data": {"algorithm": "bilstm"}},
                "body",
                "Must be a JSON object; send JSON (Content-Type: application/json)",
            ),
            ("/api/v1/training-jobs", {"json": [1]}, "body", "Must be a JSON object"),
            (
                "/api/v1/auth/token",
                {"json": {"username": "a", "password": "b"}},
                "username",
                "Field required; send a form (Content-Type: application/x-www-form-urlencoded)",
            ),
            ("/api/v1/auth/token", {"data": {"password": "b"}}, "username", "Field required"),
        ],
    )
    def test_of_a_body_of_another_kind_says_which_is_wanted(
        self, platform: Any, path: str, sent: Any, field: str, issue: str
    ) -> None:
        answer = platform.http.post(path, **sent)
        assert answer.status_code == 422
        assert envelope(answer)["details"][0] == {"field": field, "issue": issue}

    @pytest.mark.parametrize(
        ("text", "issue"),
        [
            ("a" * 256, "String should have at most 255 characters"),
            (" ", "String should have at least 1 character"),
            ("a\x1b", "No control characters"),
        ],
    )
    def test_of_a_text_that_cannot_be_says_why(self, platform: Any, text: str, issue: str) -> None:
        body = {"algorithm": "bilstm", "battery_ids": [1], "model_name": text}
        answer = platform.http.post("/api/v1/training-jobs", json=body)
        assert answer.status_code == 422
        assert envelope(answer)["details"] == [{"field": "model_name", "issue": issue}]

    def test_of_an_empty_list_says_how_many_there_may_be(self, platform: Any) -> None:
        answer = platform.http.post("/api/v1/predictions/batch", json={"requests": []})
        issue = "List should have at least 1 item, not 0"
        assert envelope(answer)["details"] == [{"field": "requests", "issue": issue}]

    def test_of_missing_fields_names_them(self, platform: Any) -> None:
        error = envelope(platform.http.post("/api/v1/training-jobs", json={}))
        assert error["code"] == "MISSING_REQUIRED_FIELD"
        assert [detail["field"] for detail in error["details"]] == ["algorithm", "battery_ids"]

    def test_of_an_oversized_body(self, platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.bodies.JSON_BYTES", 1000)

        def chunks() -> Any:
            for _ in range(20):
                yield b" " * 100

        answer = platform.http.post("/api/v1/predictions", content=chunks())
        assert answer.status_code == 413
        assert envelope(answer)["code"] == "FILE_TOO_LARGE"

    def test_of_something_unforeseen_hides_it_and_logs_it(
        self, platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails() -> str:
            raise RuntimeError("a secret of the server")

        monkeypatch.setattr(service, "release", fails)
        answer = platform.http.get("/api/v1/version")
        error = envelope(answer)
        assert (answer.status_code, error["code"]) == (500, "INTERNAL_ERROR")
        assert "secret" not in answer.text
        failures = [record for record in caplog.records if record.exc_info and error["trace_id"] in record.getMessage()]
        assert len(failures) == 1

    def test_of_something_unforeseen_can_be_read_by_an_allowed_page(
        self, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform = make(allowed_origins='["https://lab.example"]')
        monkeypatch.setattr(service, "release", lambda: 1 / 0)
        answer = platform.http.get("/api/v1/version", headers={"Origin": "https://lab.example"})
        assert answer.status_code == 500
        assert answer.headers["access-control-allow-origin"] == "https://lab.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_of_a_database_that_fails(self, platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails() -> str:
            raise OperationalError("SELECT", {}, Exception("disk I/O error"))

        monkeypatch.setattr(service, "release", fails)
        answer = platform.http.get("/api/v1/version")
        assert (answer.status_code, envelope(answer)["code"]) == (500, "DATABASE_ERROR")

    def test_is_in_the_log_line_of_its_request(self, platform: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="api.access")
        answer = platform.http.get("/api/v1/batteries/999?x=y")
        lines = [record.getMessage() for record in caplog.records if record.name == "api.access"]
        (line,) = [line for line in lines if answer.headers["X-Request-ID"] in line]
        assert "GET /api/v1/batteries/999 404 RESOURCE_NOT_FOUND" in line
        assert "x=y" not in line

    def test_cannot_command_the_terminal_that_shows_the_log(
        self, platform: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="api.access")
        platform.http.get("/api/v1/%1b[2J%0aforged%00%c3%bc")
        (line,) = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
        assert r"GET /api/v1/\x1b[2J\nforged\x00\xfc 404" in line


class TestHeaders:
    def test_name_every_request_differently(self, platform: Any) -> None:
        names = {platform.http.get("/api/v1/health").headers["X-Request-ID"] for _ in range(5)}
        assert len(names) == 5

    def test_let_the_page_run_its_own_scripts_alone(self, anonymous: Any) -> None:
        page = anonymous.http.get("/")
        policy = page.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "<script>" not in page.text
        assert 'id="fileInput"' in page.text

    def test_allow_other_origins_only_by_setting(self, make: Any) -> None:
        asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "GET"}
        closed = make().http.options("/api/v1/batteries", headers=asked)
        assert "access-control-allow-origin" not in closed.headers
        opened = make(allowed_origins='["https://lab.example"]')
        assert opened.http.options("/api/v1/batteries", headers=asked).status_code == 200
        refused = opened.http.get("/api/v1/batteries", headers={"Origin": "https://lab.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://lab.example"
        assert {"ETag", "Link", "X-Total-Count"} <= set(refused.headers["access-control-expose-headers"].split(", "))
        conditional = asked | {"Access-Control-Request-Headers": "authorization, if-none-match, range"}
        assert opened.http.options("/api/v1/batteries/1/file", headers=conditional).status_code == 200
        assert (
            "access-control-allow-origin"
            not in opened.http.get("/", headers={"Origin": "https://evil.example"}).headers
        )


class TestDocumentation:
    def test_is_valid_openapi_3_1_and_says_what_can_go_wrong(self, anonymous: Any) -> None:
        document = anonymous.http.get("/openapi.json").json()
        validate(document)
        assert document["openapi"].startswith("3.1")
        for path, operations in document["paths"].items():
            for verb, operation in operations.items():
                assert operation.get("summary"), (verb, path)
                assert operation.get("description"), (verb, path)
                public = operation.get("security") == []
                assert public or operation["security"] == [{"bearer": []}], (verb, path)
                assert public or {"401", "500"} <= operation["responses"].keys(), (verb, path)
                for status, response in operation["responses"].items():
                    if int(status) >= 400:
                        schema = response["content"]["application/json"]["schema"]
                        assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}, (verb, path, status)

    def test_page_needs_nothing_from_elsewhere(self, anonymous: Any) -> None:
        page = anonymous.http.get("/docs")
        assert page.status_code == 200
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert len(anonymous.http.get("/docs/swagger-ui-bundle.js").content) > 500_000
