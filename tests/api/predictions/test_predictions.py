"""Predictions over HTTP: of a battery, alone and in batches, fresh and kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batteries.features import FEATURE_NAMES


class TestByBattery:
    def test_answers_with_the_keys_of_the_contract(self, ready: Any) -> None:
        answer = ready.ask(battery_id=1, model_id=1)
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
        ready.ask(battery_id=1)
        ((item,),) = ready.serving.calls
        assert item["cycle_index"] == list(range(1, 13))
        assert (item["nominal_capacity_ah"], item["chemistry"]) == (1.1, "LFP")
        assert np.array(item["x"], dtype=float).shape == (12, len(FEATURE_NAMES))

    def test_without_a_model_asks_the_champion_with_one_asks_that_version(self, ready: Any) -> None:
        second = ready.add_model(mlflow_version="2")
        ready.serving.champion = "2"
        assert ready.ask(battery_id=1).json()["model_id"] == second.id
        assert ready.ask(battery_id=1, model_id=1).json()["model_id"] == 1
        assert [call[0]["model_version"] for call in ready.serving.calls] == ["2", "1"]

    def test_of_what_is_not_there_is_404(self, ready: Any) -> None:
        assert ready.ask(battery_id=99).json()["error"]["message"] == "Battery with ID 99 not found"
        assert ready.ask(battery_id=1, model_id=99).json()["error"]["message"] == "Model with ID 99 not found"

    def test_with_a_model_of_another_algorithm_is_422(self, ready: Any) -> None:
        answer = ready.ask(algorithm="baseline", battery_id=1, model_id=1)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "model_id"

    def test_before_anything_was_trained_says_to_train(self, ready: Any) -> None:
        answer = ready.ask(algorithm="deephpm", battery_id=1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RESOURCE_NOT_FOUND")
        assert "train one" in answer.json()["error"]["message"]
        assert ready.serving.calls == []

    def test_after_the_champion_was_deleted_says_what_to_do(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        assert ready.http.delete("/api/v1/models/1").status_code == 204
        answer = ready.ask(battery_id=1)
        assert answer.status_code == 404
        assert "name a model_id" in answer.json()["error"]["message"]
        assert ready.ask(battery_id=1, model_id=2).status_code == 200

    def test_while_serving_is_away_is_503_and_leaves_no_trace(self, ready: Any) -> None:
        ready.serving.away = True
        answer = ready.ask(battery_id=1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert ready.http.get("/api/v1/predictions").json()["meta"]["total"] == 0
        assert ready.http.delete("/api/v1/models/1").status_code == 204

    def test_while_serving_hangs_is_503_in_the_time_of_the_settings(self, make: Any, mat_file: Path) -> None:
        platform = make(serving_timeout_s="0.2").sign_in()
        platform.upload(mat_file)
        platform.add_model()
        platform.serving.hangs = True
        for _ in range(4):  # more than are asked at once: those that wait are answered in time as well
            answer = platform.ask(battery_id=1, model_id=1)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
            assert answer.headers["Retry-After"]


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
                {"algorithm": "bilstm", "cycle_data": ready.cycle},
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
        asked = [{"algorithm": "bilstm", "battery_id": 1, "cycle_index": index} for index in (3, 4)]
        results = self.batch(ready, asked).json()["results"]
        assert results[0]["error"]["message"] == "no cycle"
        assert results[1]["result"]["soh"] == 0.87

    def test_while_serving_is_away_keeps_what_is_known_and_is_503_where_nothing_is(self, ready: Any) -> None:
        known = {"algorithm": "bilstm", "battery_id": 1, "model_id": 1}
        assert ready.ask(**known).status_code == 200
        ready.serving.away = True
        new = known | {"cycle_index": 5}
        kept, failed = self.batch(ready, [known, new]).json()["results"]
        assert kept["cached"] is True
        assert failed["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert self.batch(ready, [new, new]).status_code == 503


class TestCache:
    def test_answers_the_same_question_without_asking_again(self, ready: Any) -> None:
        first, second = ready.ask(battery_id=1).json(), ready.ask(battery_id=1).json()
        assert (first["cached"], second["cached"]) == (False, True)
        assert first["result"] == second["result"]
        assert (first["id"], second["id"]) == (1, 2)
        assert len(ready.serving.calls) == 1

    def test_knows_a_changed_battery_and_another_model_from_what_was_kept(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        ready.ask(battery_id=1)
        assert ready.ask(battery_id=1, model_id=2).json()["cached"] is False
        assert ready.ask(battery_id=1, model_id=1).json()["cached"] is True
        assert ready.http.patch("/api/v1/batteries/1", json={"chemistry": "NMC"}).status_code == 200
        assert ready.ask(battery_id=1).json()["cached"] is False
        assert ready.http.delete("/api/v1/batteries/1").status_code == 204
        assert ready.ask(battery_id=1).status_code == 404

    def test_is_of_no_use_to_a_new_champion(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.champions.FRESH_S", 0)
        monkeypatch.setattr("models.champions.STALE_S", 0)
        ready.add_model(mlflow_version="2")
        assert ready.ask(battery_id=1).json()["model_id"] == 1
        ready.serving.champion = "2"
        changed = ready.ask(battery_id=1).json()
        assert (changed["model_id"], changed["cached"]) == (2, False)
        assert ready.ask(battery_id=1).json()["cached"] is True

    def test_can_be_turned_off(self, make: Any, mat_file: Path) -> None:
        platform = make(prediction_cache_s="0").sign_in()
        platform.upload(mat_file)
        platform.add_model()
        assert [platform.ask(battery_id=1).json()["cached"] for _ in range(2)] == [False, False]
        assert len(platform.serving.calls) == 2


class TestNumbers:
    def test_are_told_in_six_digits_whether_fresh_kept_or_read_back(self, ready: Any) -> None:
        computed = {
            "soh": 0.903067946434021,
            "rul": 1059.16606521606445,
            "confidence": 0.9500000000000001,
            "soh_interval": [0.9024528881128554, 1.0],
            "rul_interval": [2.30425e-96, 23666.42642578],
        }
        plain = ready.serving.answer
        ready.serving.answer = lambda item: plain(item) | computed
        fresh, again = (ready.ask(battery_id=1).json() for _ in range(2))
        assert (fresh["cached"], again["cached"]) == (False, True)
        assert {name: fresh["result"][name] for name in computed} == {
            "soh": 0.903068,
            "rul": 1059.17,
            "confidence": 0.95,
            "soh_interval": [0.902453, 1.0],
            "rul_interval": [0.0, 23666.4],
        }
        kept = ready.http.get(f"/api/v1/predictions/{fresh['id']}").json()
        assert fresh["result"] == again["result"] == kept["result"]
