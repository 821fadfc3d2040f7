"""Every error of the contract, and the rules that hold on every path, on the live API."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

CHECKOUT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1024 * 1024
MAX_UPLOAD_BYTES = 100 * MEBIBYTE
PUBLIC = {("POST", "/api/v1/auth/token"), ("GET", "/api/v1/health"), ("GET", "/api/v1/version")}
DOCUMENTED = {
    ("POST", "/auth/token"),
    ("GET", "/auth/me"),
    ("POST", "/auth/logout"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/batteries"),
    ("POST", "/batteries"),
    ("GET", "/batteries/{battery_id}"),
    ("PATCH", "/batteries/{battery_id}"),
    ("DELETE", "/batteries/{battery_id}"),
    ("GET", "/batteries/{battery_id}/cycles"),
    ("GET", "/training-jobs"),
    ("POST", "/training-jobs"),
    ("GET", "/training-jobs/{job_id}"),
    ("POST", "/training-jobs/{job_id}/stop"),
    ("GET", "/training-jobs/{job_id}/logs"),
    ("GET", "/training-jobs/{job_id}/metrics"),
    ("GET", "/models"),
    ("GET", "/models/{model_id}"),
    ("GET", "/models/{model_id}/download"),
    ("DELETE", "/models/{model_id}"),
    ("POST", "/predictions"),
    ("POST", "/predictions/batch"),
    ("GET", "/predictions"),
}
PAGES = ["/batteries", "/training-jobs", "/models", "/predictions"]


def served(description: dict) -> set[tuple[str, str]]:
    """Verb and path of every operation that the OpenAPI document holds."""
    verbs = {"get", "post", "put", "patch", "delete"}
    return {(verb.upper(), path) for path, item in description["paths"].items() for verb in item if verb in verbs}


@pytest.fixture(scope="module")
def description(stack) -> dict:
    return requests.get(f"{stack.root}/openapi.json", timeout=10).json()


class TestOpenApi:
    def test_the_document_is_valid_openapi_3_1(self, description):
        assert description["openapi"].startswith("3.1")
        OpenAPIV31SpecValidator(description).validate()

    def test_every_documented_call_is_in_it(self, description):
        assert {(verb, "/api/v1" + path) for verb, path in DOCUMENTED} <= served(description)

    def test_every_operation_is_described_and_says_which_errors_it_answers(self, description):
        for verb, path in served(description):
            operation = description["paths"][path][verb.lower()]
            assert operation.get("summary") or operation.get("description"), (verb, path)
            if (verb, path) not in PUBLIC:
                assert "401" in operation["responses"], (verb, path)

    def test_the_documentation_page_needs_no_other_host(self, stack):
        page = requests.get(f"{stack.root}/docs", timeout=10)
        assert page.status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page.text)


@pytest.fixture(scope="module")
def account(stack) -> tuple[str, str]:
    """An account of its own, since logins are limited by account."""
    stack.add_user("lab@example.com", "a long enough pass phrase")
    return "lab@example.com", "a long enough pass phrase"


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

    def test_every_operation_refuses_without_a_token(self, description, stranger, expect_error):
        guarded = served(description) - PUBLIC
        assert len(guarded) >= len(DOCUMENTED) - len(PUBLIC)
        for verb, template in sorted(guarded):
            path = re.sub(r"\{[^}]*\}", "1", template).removeprefix("/api/v1")
            expect_error(stranger(verb, path), 401, "MISSING_TOKEN")
            expect_error(stranger(verb, path, params={"token": "x", "access_token": "x"}), 401, "MISSING_TOKEN")

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


class TestEnvelope:
    def test_every_answer_carries_its_own_request_id(self, api):
        ids = [api("GET", "/health").headers["X-Request-ID"] for _ in range(3)]
        assert all(identifier.startswith("req_") for identifier in ids)
        assert len(set(ids)) == 3

    def test_the_trace_id_is_in_the_servers_log(self, stack, api, expect_error, eventually):
        trace = expect_error(api("GET", "/batteries/424242"), 404, "RESOURCE_NOT_FOUND")["trace_id"]

        def logged() -> bool:
            logs = [stack.output, *(stack.home / "var").rglob("*.log")]
            return any(trace in log.read_text(errors="replace") for log in logs)

        eventually(logged, within=5, what=f"{trace} in a log")

    @pytest.mark.parametrize("path", ["/nothing", "/batteries/", "/batteries/1/nothing", "//batteries"])
    def test_an_unknown_path_is_not_found(self, api, expect_error, path):
        expect_error(api("GET", path), 404, "RESOURCE_NOT_FOUND")

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("DELETE", "/batteries"),
            ("PUT", "/batteries/1"),
            ("POST", "/batteries/1/cycles"),
            ("DELETE", "/training-jobs"),
            ("GET", "/training-jobs/1/stop"),
            ("POST", "/models"),
            ("PATCH", "/models/1"),
            ("DELETE", "/predictions"),
            ("GET", "/auth/token"),
            ("POST", "/health"),
        ],
    )
    def test_a_wrong_verb_is_405_and_says_what_is_allowed(self, api, expect_error, verb, path):
        answer = api(verb, path)
        expect_error(answer, 405, "METHOD_NOT_ALLOWED")
        assert verb not in answer.headers["Allow"]

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("POST", "/training-jobs"),
            ("POST", "/predictions"),
            ("POST", "/predictions/batch"),
            ("PATCH", "/batteries/{}"),
        ],
    )
    @pytest.mark.parametrize(
        "body",
        [b'{"algorithm": ', b"", b"\xff\xfe", b"[]", b'"text"', b"null", b"[" * 5000],
        ids=["cut", "empty", "no UTF-8", "list", "text", "null", "deep"],
    )
    def test_a_body_that_is_no_json_object_is_422(self, api, cell, verb, path, body):
        answer = api(verb, path.format(cell["id"]), data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text[:300]
        assert answer.json()["error"]["code"] in {"VALIDATION_ERROR", "MISSING_REQUIRED_FIELD"}

    @pytest.mark.parametrize("identifier", ["abc", "1.5", "-1", "0", "99999999999999999999999", "%00", "null"])
    @pytest.mark.parametrize("path", ["/batteries/{}", "/training-jobs/{}", "/models/{}"])
    def test_no_identifier_makes_the_server_stumble(self, api, path, identifier):
        answer = api("GET", path.format(identifier))
        assert answer.status_code in {404, 422}, answer.text[:300]
        assert answer.json()["error"]["code"] in {"RESOURCE_NOT_FOUND", "VALIDATION_ERROR"}

    @pytest.mark.parametrize(
        ("verb", "path", "noun"),
        [
            ("GET", "/batteries/{}", "Battery"),
            ("PATCH", "/batteries/{}", "Battery"),
            ("DELETE", "/batteries/{}", "Battery"),
            ("GET", "/batteries/{}/cycles", "Battery"),
            ("GET", "/training-jobs/{}", None),
            ("POST", "/training-jobs/{}/stop", None),
            ("GET", "/training-jobs/{}/logs", None),
            ("GET", "/training-jobs/{}/metrics", None),
            ("GET", "/models/{}", "Model"),
            ("GET", "/models/{}/download", "Model"),
            ("DELETE", "/models/{}", "Model"),
        ],
    )
    def test_what_does_not_exist_is_404_and_named(self, api, expect_error, verb, path, noun):
        body = {"json": {"chemistry": "LFP"}} if verb == "PATCH" else {}
        error = expect_error(api(verb, path.format(987654), **body), 404, "RESOURCE_NOT_FOUND")
        assert "987654" in error["message"]
        assert noun is None or error["message"] == f"{noun} with ID 987654 not found"


class TestPages:
    @pytest.mark.parametrize("path", PAGES)
    def test_defaults_are_the_first_twenty(self, api, path):
        page = api.get(path)
        assert set(page) >= {"items", "meta"}
        assert page["meta"]["page"] == 1
        assert page["meta"]["page_size"] == 20
        assert page["meta"]["total_pages"] == -(-page["meta"]["total"] // 20)
        assert len(page["items"]) == min(20, page["meta"]["total"])

    @pytest.mark.parametrize("path", [*PAGES, "/batteries/{}/cycles"])
    @pytest.mark.parametrize("query", [{"page": 0}, {"page": -1}, {"page": "x"}])
    def test_a_page_number_out_of_range_is_422(self, api, cell, expect_error, path, query):
        expect_error(api("GET", path.format(cell["id"]), params=query), 422, "VALIDATION_ERROR", "page")

    @pytest.mark.parametrize("path", [*PAGES, "/batteries/{}/cycles"])
    @pytest.mark.parametrize("size", [0, 101, "many"])
    def test_a_page_size_out_of_range_is_422(self, api, cell, expect_error, path, size):
        answer = api("GET", path.format(cell["id"]), params={"page_size": size})
        expect_error(answer, 422, "VALIDATION_ERROR", "page_size")

    @pytest.mark.parametrize("path", [*PAGES, "/batteries/{}/cycles"])
    def test_a_page_past_the_end_is_empty(self, api, cell, path):
        page = api.get(path.format(cell["id"]), page=10_000, page_size=100)
        assert page["items"] == []
        assert page["meta"]["page"] == 10_000

    def test_pages_together_are_every_cycle_once(self, api, cell):
        path = f"/batteries/{cell['id']}/cycles"
        pages = [api.get(path, page=number, page_size=25) for number in (1, 2, 3)]
        assert [len(page["items"]) for page in pages] == [25, 25, 10]
        assert [item["cycle_index"] for page in pages for item in page["items"]] == list(range(1, 61))
        assert len({item["id"] for page in pages for item in page["items"]}) == 60
        assert pages[0]["meta"] == {"page": 1, "page_size": 25, "total": 60, "total_pages": 3}


class TestUploads:
    @pytest.mark.parametrize(
        "content",
        [b"", b"\x89PNG\r\n\x1a\n" + bytes(500), b"PK\x03\x04" + bytes(500), bytes(range(256)) * 16],
        ids=["empty", "PNG", "zip", "bytes"],
    )
    def test_what_is_no_mat_file_is_refused(self, api, expect_error, content):
        answer = api("POST", "/batteries", files={"file": ("battery.mat", content)})
        error = expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")
        assert error["message"].startswith("Unable to parse .mat file")

    def test_a_mat_file_without_cycles_is_refused(self, api, shared_data, expect_error):
        path = shared_data / "not_cycles" / "dmegc_Exp25_R1.mat"
        with path.open("rb") as file:
            answer = api("POST", "/batteries", files={"file": (path.name, file)})
        expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")

    def test_a_truncated_file_is_refused_and_leaves_nothing(self, stack, api, make_cell, expect_error):
        kept = api.get("/batteries")["meta"]["total"]
        files = sorted(path for path in (stack.home / "data").rglob("*") if path.is_file())
        whole = make_cell("whole.mat", 20).read_bytes()
        for share in (0.01, 0.3, 0.9):
            answer = api("POST", "/batteries", files={"file": ("cut.mat", whole[: int(len(whole) * share)])})
            expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")
        assert api.get("/batteries")["meta"]["total"] == kept
        assert sorted(path for path in (stack.home / "data").rglob("*") if path.is_file()) == files

    def test_an_upload_without_file_names_the_field(self, api, expect_error):
        answer = api("POST", "/batteries", files={"manufacturer": (None, "Severson")})
        expect_error(answer, 422, "MISSING_REQUIRED_FIELD", "file")

    @pytest.mark.parametrize("capacity", ["0", "-1", "nan", "inf", "many"])
    def test_a_capacity_that_no_cell_has_is_422(self, api, make_cell, expect_error, capacity):
        with make_cell("short.mat", 3).open("rb") as file:
            form = {"nominal_capacity": capacity}
            answer = api("POST", "/batteries", files={"file": ("short.mat", file)}, data=form)
        expect_error(answer, 422, "VALIDATION_ERROR", "nominal_capacity")

    @pytest.mark.parametrize(
        "name",
        ["../../outside.mat", "/etc/outside.mat", "zelle ü 電池.mat", "a" * 300 + ".mat"],
        ids=["up", "absolute", "not ASCII", "long"],
    )
    def test_a_strange_name_is_refused_or_writes_nowhere_else(self, stack, api, make_cell, name):
        with make_cell("short.mat", 3).open("rb") as file:
            answer = api("POST", "/batteries", files={"file": (name, file)})
        assert answer.status_code in {201, 400, 422}, answer.text[:300]
        if answer.status_code == 201:
            assert "/" not in answer.json()["filename"]
            assert (stack.home / "data" / "raw" / f"{answer.json()['id']}.mat").is_file()
        assert not list(stack.home.rglob("*outside*"))

    def test_all_but_the_file_may_be_left_out(self, api, make_cell):
        made = api.upload(make_cell("plain.mat", 3))
        assert (made["manufacturer"], made["chemistry"]) == (None, None)
        assert made["total_cycles"] == 3

    @pytest.mark.parametrize(
        ("field", "value"),
        [("nominal_capacity", 0), ("nominal_capacity", "1.1 Ah"), ("manufacturer", 5), ("chemistry", ["LFP"])],
    )
    def test_a_patch_with_a_wrong_value_names_the_field(self, api, cell, expect_error, field, value):
        answer = api("PATCH", f"/batteries/{cell['id']}", json={field: value})
        expect_error(answer, 422, "VALIDATION_ERROR", field)


class TestBodySize:
    """Bodies made on the fly and sent by curl, with and without a Content-Length."""

    @staticmethod
    def curl(stack, token: str | None, path: str, source: str, tmp_path: Path, *options: str) -> tuple[int, dict]:
        """Status and body of the answer to what the shell command ``source`` prints."""
        authorization = f'-H "Authorization: Bearer {token}"' if token else ""
        script = (
            f"{source} | curl -sS -X POST {stack.root}/api/v1{path} {authorization} {' '.join(options)} "
            f"-o {tmp_path}/answer.json -w '%{{http_code}}'"
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout, done.stderr
        return int(done.stdout), json.loads((tmp_path / "answer.json").read_text())

    CHUNKED = '-H "Transfer-Encoding: chunked"'
    FILE = "-F 'file=@-;filename=big.mat'"

    @pytest.mark.parametrize("options", [(CHUNKED, FILE), (FILE,)], ids=["without length", "with length"])
    def test_a_file_above_100_mb_is_413(self, stack, api, tmp_path, options):
        source = f"head -c {MAX_UPLOAD_BYTES + 1} /dev/zero"
        status, body = self.curl(stack, api.token, "/batteries", source, tmp_path, *options)
        assert (status, body["error"]["code"]) == (413, "FILE_TOO_LARGE")
        assert body["error"]["trace_id"].startswith("req_")

    def test_a_file_of_100_mb_is_not_too_large(self, stack, api, tmp_path):
        source = f"head -c {MAX_UPLOAD_BYTES} /dev/zero"
        status, body = self.curl(stack, api.token, "/batteries", source, tmp_path, self.FILE)
        assert (status, body["error"]["code"]) == (400, "INVALID_FILE_FORMAT")  # zeros are no MATLAB file

    def test_a_stranger_is_refused_before_the_body_is_read(self, stack, tmp_path):
        source = f"head -c {2 * MAX_UPLOAD_BYTES} /dev/zero"
        status, body = self.curl(stack, None, "/batteries", source, tmp_path, self.CHUNKED, self.FILE)
        assert (status, body["error"]["code"]) == (401, "MISSING_TOKEN")

    @pytest.mark.parametrize(
        ("path", "media"),
        [
            ("/predictions", "application/json"),
            ("/training-jobs", "application/json"),
            ("/auth/token", "application/x-www-form-urlencoded"),
        ],
    )
    def test_a_huge_body_elsewhere_is_413(self, stack, api, tmp_path, path, media):
        source = f"head -c {MAX_UPLOAD_BYTES + 1} /dev/zero"
        options = (self.CHUNKED, f"-H 'Content-Type: {media}'", "--data-binary @-")
        status, body = self.curl(stack, api.token, path, source, tmp_path, *options)
        assert (status, body["error"]["code"]) == (413, "FILE_TOO_LARGE")


class TestTrainingJobRequests:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"algorithm": "oracle"}, "algorithm"),
            ({"algorithm": 5}, "algorithm"),
            ({"battery_ids": []}, "battery_ids"),
            ({"battery_ids": ["x"]}, "battery_ids"),
            ({"hyperparams": {"epochs": 0}}, "hyperparams.epochs"),
            ({"hyperparams": {"epochs": "many"}}, "hyperparams.epochs"),
            ({"hyperparams": {"batch_size": 0}}, "hyperparams.batch_size"),
            ({"hyperparams": {"learning_rate": -1}}, "hyperparams.learning_rate"),
            ({"hyperparams": {"learning_rate": "fast"}}, "hyperparams.learning_rate"),
            ({"hyperparams": {"hidden_size": 0}}, "hyperparams.hidden_size"),
            ({"hyperparams": {"colour": "red"}}, "hyperparams.colour"),
            ({"hyperparams": {"physics_weight": 0.5}}, "hyperparams.physics_weight"),
            ({"algorithm": "baseline", "hyperparams": {"hidden_size": 64}}, "hyperparams.hidden_size"),
            ({"algorithm": "deephpm", "hyperparams": {"physics_weight": -1}}, "hyperparams.physics_weight"),
        ],
    )
    def test_a_wrong_value_is_422_with_the_field_named(self, api, cell, changes, field):
        body = {"algorithm": "bilstm", "battery_ids": [cell["id"]]} | changes
        answer = api("POST", "/training-jobs", json=body)
        assert answer.status_code == 422, answer.text[:300]
        error = answer.json()["error"]
        assert error["code"] == "VALIDATION_ERROR"
        assert any(detail["field"].startswith(field) for detail in error["details"]), error

    @pytest.mark.parametrize("field", ["algorithm", "battery_ids"])
    def test_a_missing_field_is_named(self, api, cell, expect_error, field):
        body = {"algorithm": "bilstm", "battery_ids": [cell["id"]]}
        del body[field]
        expect_error(api("POST", "/training-jobs", json=body), 422, "MISSING_REQUIRED_FIELD", field)

    def test_a_battery_that_does_not_exist_is_named(self, api, cell):
        body = {"algorithm": "bilstm", "battery_ids": [cell["id"], 987654]}
        answer = api("POST", "/training-jobs", json=body)
        assert answer.status_code in {404, 422}
        assert "987654" in answer.json()["error"]["message"] + json.dumps(answer.json()["error"].get("details", []))

    def test_the_list_refuses_an_unknown_status(self, api, expect_error):
        expect_error(api("GET", "/training-jobs", params={"status": "napping"}), 422, "VALIDATION_ERROR", "status")


class TestPredictionRequests:
    def test_neither_battery_nor_cycle_is_400(self, api, expect_error):
        expect_error(api("POST", "/predictions", json={"algorithm": "baseline"}), 400, "VALIDATION_ERROR")

    def test_a_missing_algorithm_is_named(self, api, cell, expect_error):
        answer = api("POST", "/predictions", json={"battery_id": cell["id"]})
        expect_error(answer, 422, "MISSING_REQUIRED_FIELD", "algorithm")

    @pytest.mark.parametrize("key", ["battery_id", "model_id"])
    def test_what_does_not_exist_is_404(self, api, cell, trained, expect_error, key):
        assert trained
        body = {"algorithm": "baseline", "battery_id": cell["id"]} | {key: 987654}
        error = expect_error(api("POST", "/predictions", json=body), 404, "RESOURCE_NOT_FOUND")
        assert "987654" in error["message"]

    def test_a_model_of_another_algorithm_is_422(self, api, cell, trained, expect_error):
        body = {"algorithm": "deephpm", "model_id": trained["model_id"], "battery_id": cell["id"]}
        expect_error(api("POST", "/predictions", json=body), 422, "VALIDATION_ERROR", "model_id")

    @pytest.mark.parametrize(
        ("cycle", "array"),
        [
            ({"voltage": [3.3, 3.2], "current": [-1.0], "temperature": [25.0, 25.0]}, "cycle_data.current"),
            ({"voltage": [3.3, 3.2], "current": [-1.0, -1.0], "temperature": [25.0]}, "cycle_data.temperature"),
            ({"voltage": [], "current": []}, "cycle_data.voltage"),
            ({"voltage": [3.3, "x"], "current": [-1.0, -1.0]}, "cycle_data.voltage"),
            ({"voltage": [3.3, None], "current": [-1.0, -1.0]}, "cycle_data.voltage"),
        ],
    )
    def test_arrays_that_do_not_fit_are_422_and_named(self, api, cycle, array):
        answer = api("POST", "/predictions", json={"algorithm": "baseline", "cycle_data": cycle})
        assert answer.status_code == 422, answer.text[:300]
        error = answer.json()["error"]
        assert any(detail["field"].startswith(array) for detail in error["details"]), error

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_numbers_that_are_not_finite_are_422_and_named(self, api, number):
        text = f'{{"algorithm": "baseline", "cycle_data": {{"voltage": [3.3, {number}], "current": [-1.0, -1.0]}}}}'
        answer = api("POST", "/predictions", data=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text[:300]

    @pytest.mark.parametrize("count", [0, 51])
    def test_a_batch_holds_one_to_fifty(self, api, cell, expect_error, count):
        requests_ = [{"algorithm": "baseline", "battery_id": cell["id"]}] * count
        answer = api("POST", "/predictions/batch", json={"requests": requests_})
        expect_error(answer, 422, "VALIDATION_ERROR", "requests")


@pytest.fixture(scope="module")
def alone(stack, free_ports, eventually, account, login):
    """A second API process on the same home whose Prefect, MLflow and BentoML are not there, with short limits."""
    (port,) = free_ports(1)
    away = "http://127.0.0.1:9"  # the discard port: nothing listens
    environment = stack.environment | {
        "BATTERY_API_PORT": str(port),
        "BATTERY_PREFECT_URL": f"{away}/api",
        "BATTERY_SERVING_URL": away,
        "BATTERY_MLFLOW_URL": away,
        "BATTERY_TOKEN_LIFETIME_S": "2",
        "BATTERY_UPLOAD_LIMIT": "2/minute",
    }
    root = f"http://localhost:{port}"
    log = stack.output.with_name("alone.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=CHECKOUT, env=environment, stdout=output, stderr=output
        )

    def up() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{root}/api/v1/health", timeout=2).ok
        except requests.RequestException:
            return False

    try:
        eventually(up, within=60, what="the second API")
        session = login(*account)  # a token of the first API is good for the second
        session.root = root
        yield session
    finally:
        process.terminate()
        process.wait(30)


class TestWithoutTheOtherParts:
    def test_a_prediction_is_503(self, alone, cell, trained, expect_error):
        body = {"algorithm": "baseline", "model_id": trained["model_id"], "battery_id": cell["id"]}
        expect_error(alone("POST", "/predictions", json=body), 503, "SERVICE_UNAVAILABLE")

    def test_a_download_is_503(self, alone, trained, expect_error):
        expect_error(alone("GET", f"/models/{trained['model_id']}/download"), 503, "SERVICE_UNAVAILABLE")

    def test_uploads_past_the_limit_are_429(self, alone, make_cell, expect_error):
        path = make_cell("limited.mat", 3)
        assert [alone.upload(path)["total_cycles"] for _ in range(2)] == [3, 3]
        with path.open("rb") as file:
            answer = alone("POST", "/batteries", files={"file": file})
        expect_error(answer, 429, "RATE_LIMIT_EXCEEDED")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["X-RateLimit-Limit"] == "2"
        assert alone.get("/batteries")["items"]  # other calls go on

    def test_an_old_token_has_expired(self, account, alone, api, eventually, expect_error):
        short = alone.login(*account).json()
        assert short["expires_in"] == 2

        def ask() -> requests.Response:
            token = {"Authorization": f"Bearer {short['access_token']}"}
            return requests.get(f"{api.root}/api/v1/auth/me", headers=token, timeout=10)

        eventually(lambda: ask().status_code == 401, within=10, what="expiry")
        expect_error(ask(), 401, "TOKEN_EXPIRED")
