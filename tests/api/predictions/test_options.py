"""What else may be asked of a prediction: an earlier cycle, a forecast, an explanation."""

from typing import Any

import pytest


class TestAsOfACycle:
    def test_shows_the_model_nothing_later(self, ready: Any) -> None:
        answer = ready.ask(battery_id=1, cycle_index=5)
        ((item,),) = ready.serving.calls
        assert item["cycle_index"] == [1, 2, 3, 4, 5]
        assert answer.json()["cycle_index"] == 5

    def test_of_a_cycle_that_is_not_there_is_422(self, ready: Any) -> None:
        answer = ready.ask(battery_id=1, cycle_index=13)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == [{"field": "cycle_index", "issue": "Battery 1 has no cycle 13"}]
        assert ready.ask(cycle_data=ready.cycle, cycle_index=1).status_code == 422


class TestForecast:
    def test_goes_from_the_answer_to_the_end_of_life_and_is_kept(self, ready: Any) -> None:
        made = ready.ask(battery_id=1, cycle_index=10, forecast=True).json()
        told = made["result"]["forecast"]
        assert (told["cycles_ahead"][0], told["cycles_ahead"][-1]) == (0, 121)  # RUL is 120.5
        assert told["cycle_index"][0] == 10
        assert told["soh"][0] == 0.87
        assert told["soh"][-1] == pytest.approx(0.8, abs=0.001)
        assert ready.http.get(f"/api/v1/predictions/{made['id']}").json()["result"]["forecast"] == told
        assert ready.http.get("/api/v1/predictions").json()["items"][0]["result"]["forecast"] is None

    def test_is_there_where_it_is_asked_for_alone(self, ready: Any) -> None:
        assert ready.ask(battery_id=1).json()["result"]["forecast"] is None
        told = ready.ask(cycle_data=ready.cycle, forecast=True).json()["result"]["forecast"]
        assert told["cycle_index"] is None
        assert told["fade_per_cycle"] is None


class TestExplain:
    def test_passes_on_what_the_service_says_and_keeps_it(self, ready: Any) -> None:
        plain = ready.ask(battery_id=1).json()
        made = ready.ask(battery_id=1, explain=True).json()
        assert [call[0]["explain"] for call in ready.serving.calls] == [False, True]
        assert plain["result"]["explanation"] is None
        assert [moved["feature"] for moved in made["result"]["explanation"]] == ["cv_duration_h"]
        kept = ready.http.get(f"/api/v1/predictions/{made['id']}").json()
        assert kept["result"]["explanation"] == made["result"]["explanation"]
