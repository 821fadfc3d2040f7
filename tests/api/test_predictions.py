"""Predictions over HTTP: by battery and by samples, alone and in batches, and the audit trail."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batteries.features import FEATURE_NAMES
from batteries.matfiles.reader import read

CYCLE = {"voltage": [3.5, 3.6, 3.7, 3.8], "current": [1.0, 1.0, 1.0, 1.0], "temperature": [25.0, 25.5, 26.0, 26.5]}


@pytest.fixture
def ready(platform: Any, mat_file: Path) -> Any:
    """A platform with battery 1 and model 1."""
    platform.upload(mat_file, nominal_capacity="1.1", chemistry="LFP")
    platform.add_model()
    return platform


def ask(platform: Any, **body: Any) -> Any:
    return platform.http.post("/api/v1/predictions", json={"algorithm": "bilstm"} | body)


class TestByBattery:
    def test_answers_with_the_keys_of_the_contract(self, ready: Any) -> None:
        answer = ask(ready, battery_id=1, model_id=1)
        assert answer.status_code == 200
        body = answer.json()
        assert {"id", "algorithm", "model_id", "result", "created_at"} <= body.keys()
        assert (body["id"], body["algorithm"], body["model_id"]) == (1, "bilstm", 1)
        assert {name: body["result"][name] for name in ("soh", "rul", "confidence")} == {
            "soh": 0.87,
            "rul": 120.5,
            "confidence": 0.91,
        }
        assert body["result"]["soh_interval"] == [0.84, 0.9]
        assert (body["model_version"], body["run_id"], body["data_version"]) == ("1.0.0", "run-1", "abc.dir")

    def test_shows_the_model_the_latest_cycles(self, ready: Any) -> None:
        ask(ready, battery_id=1)
        ((item,),) = ready.serving.calls
        assert item["cycle_index"] == list(range(1, 13))
        assert (item["nominal_capacity_ah"], item["chemistry"]) == (1.1, "LFP")
        assert np.array(item["x"], dtype=float).shape == (12, len(FEATURE_NAMES))

    def test_without_a_model_asks_the_champion_with_one_asks_that_version(self, ready: Any) -> None:
        second = ready.add_model(mlflow_version="2")
        ready.serving.champion = "2"
        assert ask(ready, battery_id=1).json()["model_id"] == second.id
        assert ask(ready, battery_id=1, model_id=1).json()["model_id"] == 1
        assert [call[0]["model_version"] for call in ready.serving.calls] == [None, "1"]

    def test_of_what_is_not_there_is_404(self, ready: Any) -> None:
        assert ask(ready, battery_id=99).json()["error"]["message"] == "Battery with ID 99 not found"
        assert ask(ready, battery_id=1, model_id=99).json()["error"]["message"] == "Model with ID 99 not found"

    def test_with_a_model_of_another_algorithm_is_422(self, ready: Any) -> None:
        answer = ask(ready, algorithm="baseline", battery_id=1, model_id=1)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "model_id"

    def test_before_anything_was_trained_says_to_train(self, ready: Any) -> None:
        answer = ask(ready, algorithm="deephpm", battery_id=1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RESOURCE_NOT_FOUND")
        assert "train one" in answer.json()["error"]["message"]
        assert ready.serving.calls == []

    def test_after_the_champion_was_deleted_says_what_to_do(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        assert ready.http.delete("/api/v1/models/1").status_code == 204
        answer = ask(ready, battery_id=1)
        assert answer.status_code == 404
        assert "name a model_id" in answer.json()["error"]["message"]
        assert ask(ready, battery_id=1, model_id=2).status_code == 200

    def test_while_serving_is_away_is_503_and_leaves_no_trace(self, ready: Any) -> None:
        ready.serving.away = True
        answer = ask(ready, battery_id=1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert ready.http.get("/api/v1/predictions").json()["meta"]["total"] == 0
        assert ready.http.delete("/api/v1/models/1").status_code == 204


class TestByCycle:
    def test_takes_the_arrays_of_the_contract(self, ready: Any) -> None:
        answer = ask(ready, cycle_data=CYCLE)
        assert answer.status_code == 200
        ((item,),) = ready.serving.calls
        assert len(item["x"]) == 1
        assert item["cycle_index"] == [None]
        assert any("cycle_data.time is missing" in said for said in answer.json()["result"]["warnings"])

    def test_of_a_whole_cycle_shows_the_same_features_as_its_upload(self, ready: Any, mat_file: Path) -> None:
        cycle = read(mat_file).cycles[-1]
        samples = {"voltage": cycle.voltage_v, "current": cycle.current_a, "time": cycle.time_s}
        samples["temperature"] = cycle.temperature_c
        data = {name: column.tolist() for name, column in samples.items()} | {"nominal_capacity": 1.1}
        assert ask(ready, cycle_data=data).status_code == 200
        ask(ready, battery_id=1)
        (of_cycle,), (of_battery,) = ready.serving.calls
        sent, kept = (np.array(item["x"][-1], dtype=float) for item in (of_cycle, of_battery))
        np.testing.assert_allclose(sent, kept, rtol=1e-6)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"current": [1.0, 1.0]}, "cycle_data.current"),
            ({"temperature": [25.0]}, "cycle_data.temperature"),
            ({"temperature": [25.0, 25.0]}, "cycle_data.temperature"),
            ({"voltage": [3.5, None, 3.7, 3.8]}, "cycle_data.voltage"),
            ({"voltage": [3.5, "3.6", 3.7, 3.8]}, "cycle_data.voltage"),
            ({"voltage": []}, "cycle_data.voltage"),
            ({"time": [0, 2, 1, 3]}, "cycle_data.time"),
        ],
    )
    def test_names_the_array_that_is_wrong(self, ready: Any, changes: dict[str, Any], field: str) -> None:
        answer = ask(ready, cycle_data=CYCLE | changes)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == field

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_names_the_array_that_is_not_finite(self, ready: Any, number: str) -> None:
        cycle = f'{{"voltage": [3.5, {number}], "current": [1, 1]}}'
        body = f'{{"algorithm": "bilstm", "cycle_data": {cycle}}}'
        answer = ready.http.post("/api/v1/predictions", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == [
            {"field": "cycle_data.voltage", "issue": "Item 1: Input should be a finite number"}
        ]

    def test_without_any_source_is_400_and_with_both_is_422(self, ready: Any) -> None:
        neither = ask(ready)
        assert (neither.status_code, neither.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
        both = ask(ready, battery_id=1, cycle_data=CYCLE)
        assert (both.status_code, both.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


class TestBatch:
    def batch(self, platform: Any, requests: list[Any]) -> Any:
        return platform.http.post("/api/v1/predictions/batch", json={"requests": requests})

    def test_answers_in_order_in_one_call_and_one_failure_does_not_sink_the_others(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        answer = self.batch(
            ready,
            [
                {"algorithm": "bilstm", "battery_id": 1, "model_id": 2},
                {"algorithm": "bilstm", "battery_id": 126},
                {"algorithm": "magic", "battery_id": 1},
                "nonsense",
                {"algorithm": "bilstm", "cycle_data": CYCLE},
            ],
        )
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [result.get("model_id") for result in results] == [2, None, None, None, 1]
        codes = [result["error"]["code"] for result in results if "error" in result]
        assert codes == ["RESOURCE_NOT_FOUND", "VALIDATION_ERROR", "VALIDATION_ERROR"]
        assert results[2]["error"]["details"][0]["field"] == "algorithm"
        assert [len(call) for call in ready.serving.calls] == [2]

    @pytest.mark.parametrize("count", [0, 51])
    def test_of_none_or_more_than_50_is_422(self, ready: Any, count: int) -> None:
        answer = self.batch(ready, [{"algorithm": "bilstm", "battery_id": 1}] * count)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "requests"
        assert ready.serving.calls == []

    def test_of_50_is_answered(self, ready: Any) -> None:
        answer = self.batch(ready, [{"algorithm": "bilstm", "battery_id": 1}] * 50)
        assert [result["id"] for result in answer.json()["results"]] == list(range(1, 51))

    def test_where_serving_refuses_one_item_keeps_the_other(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = [
            {"error": {"code": "INVALID", "message": "no cycle"}},
            ready.serving.answer({"model_version": "1", "x": []}),
        ]
        monkeypatch.setattr(ready.serving, "answer", lambda _: answers.pop(0))
        results = self.batch(ready, [{"algorithm": "bilstm", "battery_id": 1}] * 2).json()["results"]
        assert results[0]["error"]["message"] == "no cycle"
        assert results[1]["result"]["soh"] == 0.87


class TestAuditTrail:
    def test_keeps_every_answer_newest_first_beyond_the_model(self, ready: Any) -> None:
        answers = [ask(ready, battery_id=1).json(), ask(ready, cycle_data=CYCLE).json()]
        ready.http.delete("/api/v1/models/1")
        page = ready.http.get("/api/v1/predictions").json()
        assert page["items"] == answers[::-1]
        assert page["meta"]["total"] == 2
