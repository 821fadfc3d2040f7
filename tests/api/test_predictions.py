"""Predictions over HTTP: by battery and by samples, alone and in batches, and the audit trail."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import quick_json
from batteries.features import FEATURE_NAMES
from batteries.matfiles.reader import read
from store.session import reading
from store.tables import Prediction

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
        assert [call[0]["model_version"] for call in ready.serving.calls] == ["2", "1"]

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

    def test_while_serving_hangs_is_503_in_the_time_of_the_settings(self, make: Any, mat_file: Path) -> None:
        platform = make(serving_timeout_s="0.2").sign_in()
        platform.upload(mat_file)
        platform.add_model()
        platform.serving.hangs = True
        for _ in range(4):  # more than are asked at once: those that wait are answered in time as well
            answer = ask(platform, battery_id=1, model_id=1)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
            assert answer.headers["Retry-After"]


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
        asked = [{"algorithm": "bilstm", "battery_id": 1, "cycle_index": index} for index in (3, 4)]
        results = self.batch(ready, asked).json()["results"]
        assert results[0]["error"]["message"] == "no cycle"
        assert results[1]["result"]["soh"] == 0.87

    def test_while_serving_is_away_keeps_what_is_known_and_is_503_where_nothing_is(self, ready: Any) -> None:
        known = {"algorithm": "bilstm", "battery_id": 1, "model_id": 1}
        assert ask(ready, **known).status_code == 200
        ready.serving.away = True
        new = known | {"cycle_index": 5}
        kept, failed = self.batch(ready, [known, new]).json()["results"]
        assert kept["cached"] is True
        assert failed["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert self.batch(ready, [new, new]).status_code == 503


class TestAuditTrail:
    def test_keeps_every_answer_newest_first_beyond_the_model(self, ready: Any) -> None:
        answers = [ask(ready, battery_id=1).json(), ask(ready, cycle_data=CYCLE).json()]
        ready.http.delete("/api/v1/models/1")
        page = ready.http.get("/api/v1/predictions").json()
        assert page["items"] == answers[::-1]
        assert page["meta"]["total"] == 2
        assert ready.http.get("/api/v1/predictions/2").json() == answers[1]
        assert ready.http.get("/api/v1/predictions/3").status_code == 404

    def test_says_who_asked_of_what_and_how_long_it_took(self, ready: Any) -> None:
        made = ask(ready, battery_id=1).json()
        assert made["user_id"] == ready.http.get("/api/v1/auth/me").json()["id"]
        assert made["cycle_index"] == 12
        assert 0 < made["latency_ms"] < 60_000
        again, other = ask(ready, battery_id=1).json(), ask(ready, battery_id=1, cycle_index=11).json()
        assert made["input_hash"] == again["input_hash"] != other["input_hash"]

    def test_is_filtered_by_battery_model_and_time(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        made = [ask(ready, battery_id=1, model_id=model).json() for model in (1, 2)] + [
            ask(ready, cycle_data=CYCLE, model_id=2).json()
        ]

        def ids(**query: Any) -> list[int]:
            answer = ready.http.get("/api/v1/predictions", params=query)
            assert answer.status_code == 200, answer.text
            return [item["id"] for item in answer.json()["items"]]

        assert ids() == [3, 2, 1]
        assert ids(battery_id=1) == [2, 1]
        assert ids(model_id=2) == [3, 2]
        assert ids(battery_id=1, model_id=2) == [2]
        row_times = [audit_time(number) for number in (1, 2, 3)]
        assert row_times[0] < row_times[1] < row_times[2]
        second = row_times[1]
        assert ids(since=second.isoformat()) == [3, 2]
        assert ids(until=second.isoformat()) == [1]
        tokyo = second.astimezone(timezone(timedelta(hours=9)))
        assert ids(since=tokyo.isoformat(), until=row_times[2].isoformat()) == [2]
        assert [item["id"] for item in made] == [1, 2, 3]

    @pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00"])
    def test_of_a_time_without_its_zone_or_beyond_the_calendar_is_422(self, ready: Any, moment: str) -> None:
        answer = ready.http.get("/api/v1/predictions", params={"since": moment})
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "since"


def audit_time(prediction_id: int) -> datetime:
    with reading() as session:
        return session.get_one(Prediction, prediction_id).created_at


class TestCache:
    def test_answers_the_same_question_without_asking_again(self, ready: Any) -> None:
        first, second = ask(ready, battery_id=1).json(), ask(ready, battery_id=1).json()
        assert (first["cached"], second["cached"]) == (False, True)
        assert first["result"] == second["result"]
        assert (first["id"], second["id"]) == (1, 2)
        assert len(ready.serving.calls) == 1

    def test_knows_a_changed_battery_and_another_model_from_what_was_kept(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        ask(ready, battery_id=1)
        assert ask(ready, battery_id=1, model_id=2).json()["cached"] is False
        assert ask(ready, battery_id=1, model_id=1).json()["cached"] is True
        assert ready.http.patch("/api/v1/batteries/1", json={"chemistry": "NMC"}).status_code == 200
        assert ask(ready, battery_id=1).json()["cached"] is False
        assert ready.http.delete("/api/v1/batteries/1").status_code == 204
        assert ask(ready, battery_id=1).status_code == 404

    def test_is_of_no_use_to_a_new_champion(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.champions.FRESH_S", 0)
        monkeypatch.setattr("models.champions.STALE_S", 0)
        ready.add_model(mlflow_version="2")
        assert ask(ready, battery_id=1).json()["model_id"] == 1
        ready.serving.champion = "2"
        changed = ask(ready, battery_id=1).json()
        assert (changed["model_id"], changed["cached"]) == (2, False)
        assert ask(ready, battery_id=1).json()["cached"] is True

    def test_can_be_turned_off(self, make: Any, mat_file: Path) -> None:
        platform = make(prediction_cache_s="0").sign_in()
        platform.upload(mat_file)
        platform.add_model()
        assert [ask(platform, battery_id=1).json()["cached"] for _ in range(2)] == [False, False]
        assert len(platform.serving.calls) == 2


class TestNumbers:
    def test_are_told_in_six_digits_whether_fresh_kept_or_read_back(self, ready: Any) -> None:
        computed = {
            "soh": 0.903067946434021,
            "rul": 1059.16606521606445,
            "confidence": 0.9500000000000001,
            "soh_interval": [0.9024528881128554, 1.0],
            "rul_interval": [0.0, 23666.42642578],
        }
        plain = ready.serving.answer
        ready.serving.answer = lambda item: plain(item) | computed
        fresh, again = (ask(ready, battery_id=1).json() for _ in range(2))
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


class TestAsOfACycle:
    def test_shows_the_model_nothing_later(self, ready: Any) -> None:
        answer = ask(ready, battery_id=1, cycle_index=5)
        ((item,),) = ready.serving.calls
        assert item["cycle_index"] == [1, 2, 3, 4, 5]
        assert answer.json()["cycle_index"] == 5

    def test_of_a_cycle_that_is_not_there_is_422(self, ready: Any) -> None:
        answer = ask(ready, battery_id=1, cycle_index=13)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == [{"field": "cycle_index", "issue": "Battery 1 has no cycle 13"}]
        assert ask(ready, cycle_data=CYCLE, cycle_index=1).status_code == 422


class TestForecast:
    def test_goes_from_the_answer_to_the_end_of_life_and_is_kept(self, ready: Any) -> None:
        made = ask(ready, battery_id=1, cycle_index=10, forecast=True).json()
        told = made["result"]["forecast"]
        assert (told["cycles_ahead"][0], told["cycles_ahead"][-1]) == (0, 121)  # RUL is 120.5
        assert told["cycle_index"][0] == 10
        assert told["soh"][0] == 0.87
        assert told["soh"][-1] == pytest.approx(0.8, abs=0.001)
        assert ready.http.get(f"/api/v1/predictions/{made['id']}").json()["result"]["forecast"] == told
        assert ready.http.get("/api/v1/predictions").json()["items"][0]["result"]["forecast"] is None

    def test_is_there_where_it_is_asked_for_alone(self, ready: Any) -> None:
        assert ask(ready, battery_id=1).json()["result"]["forecast"] is None
        told = ask(ready, cycle_data=CYCLE, forecast=True).json()["result"]["forecast"]
        assert told["cycle_index"] is None
        assert told["fade_per_cycle"] is None


class TestExplain:
    def test_passes_on_what_the_service_says_and_keeps_it(self, ready: Any) -> None:
        plain = ask(ready, battery_id=1).json()
        made = ask(ready, battery_id=1, explain=True).json()
        assert [call[0]["explain"] for call in ready.serving.calls] == [False, True]
        assert plain["result"]["explanation"] is None
        assert [moved["feature"] for moved in made["result"]["explanation"]] == ["cv_duration_h"]
        kept = ready.http.get(f"/api/v1/predictions/{made['id']}").json()
        assert kept["result"]["explanation"] == made["result"]["explanation"]


class TestDoubts:
    def warnings(self, platform: Any, **cycle: Any) -> list[str]:
        answer = ask(platform, cycle_data=CYCLE | cycle)
        assert answer.status_code == 200, answer.text
        return [said for said in answer.json()["result"]["warnings"] if "is it in" in said]

    def test_are_told_of_what_looks_like_another_unit(self, ready: Any) -> None:
        assert self.warnings(ready) == []
        for name, values, unit in (
            ("voltage", [3500.0, 3600.0, 3700.0, 3800.0], "mV"),
            ("current", [1100.0] * 4, "mA"),
            ("temperature", [298.0] * 4, "in K"),
        ):
            (said,) = self.warnings(ready, **{name: values})
            assert said.startswith(f"cycle_data.{name}")
            assert unit in said

    @pytest.mark.parametrize(("scale", "told"), [(1.0, []), (1000.0, ["ms"]), (1 / 3600, ["minutes or hours"])])
    def test_are_told_of_time_in_another_unit(self, ready: Any, scale: float, told: list[str]) -> None:
        time = [60.0 * scale * number for number in range(60)]  # an hour at 1 A of 1.1 Ah
        cycle = {"voltage": [3.5 + 0.01 * n for n in range(60)], "current": [1.0] * 60, "temperature": None}
        said = self.warnings(ready, **cycle, time=time, nominal_capacity=1.1)
        assert len(said) == len(told)
        assert all(unit in one for one, unit in zip(said, told, strict=True))

    def test_two_samples_of_a_charge_are_enough_and_rest_is_told_to_be_none(self, ready: Any) -> None:
        two = {"voltage": [3.5, 3.6], "current": [1.0, 1.0]}
        assert ask(ready, cycle_data=two).status_code == 200
        answer = ask(ready, cycle_data=two | {"current": [0.0, 0.0]})
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "cycle_data"
        issue = answer.json()["error"]["details"][0]["issue"]
        assert "neither a charge nor" in issue
        assert "cycle_data.time is missing" in issue

    def test_that_tell_nothing_are_told_of_another_unit_too(self, ready: Any) -> None:
        load = {"voltage": [4200.0, 3900.0, 3600.0], "current": [-2000.0] * 3, "temperature": None}
        answer = ask(ready, cycle_data=load)
        assert answer.status_code == 422
        issue = answer.json()["error"]["details"][0]["issue"]
        assert "is it in mV" in issue
        assert "is it in mA" in issue


class TestBodies:
    def test_are_collected_after_large_ones_alone(self, platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        collected = []
        monkeypatch.setattr("api.quick_json.gc.collect", lambda: collected.append(1))
        headers = {"Content-Type": "application/json"}
        pieces = iter([b'{"algorithm": ', b'"bilstm"}'])  # sent in chunks, without a Content-Length
        assert platform.http.post("/api/v1/predictions", content=pieces, headers=headers).status_code == 400
        assert collected == []
        large = b'{"algorithm": "' + b"x" * quick_json.LARGE_BYTES + b'"}'
        assert platform.http.post("/api/v1/predictions", content=large, headers=headers).status_code == 422
        assert collected == [1]
