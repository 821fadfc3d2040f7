"""Every error of the contract, and the rules that hold on every path, on the live API."""

import json

import pytest

PAGES = ["/batteries", "/training-jobs", "/models", "/predictions"]


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
