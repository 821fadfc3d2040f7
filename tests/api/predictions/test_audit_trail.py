"""The audit trail: every prediction that was answered."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from store.session import reading
from store.tables import Prediction


class TestAuditTrail:
    def test_keeps_every_answer_newest_first_beyond_the_model(self, ready: Any) -> None:
        answers = [ready.ask(battery_id=1).json(), ready.ask(cycle_data=ready.cycle).json()]
        ready.http.delete("/api/v1/models/1")
        page = ready.http.get("/api/v1/predictions").json()
        assert page["items"] == answers[::-1]
        assert page["meta"]["total"] == 2
        assert ready.http.get("/api/v1/predictions/2").json() == answers[1]
        assert ready.http.get("/api/v1/predictions/3").status_code == 404

    def test_says_who_asked_of_what_and_how_long_it_took(self, ready: Any) -> None:
        made = ready.ask(battery_id=1).json()
        assert made["user_id"] == ready.http.get("/api/v1/auth/me").json()["id"]
        assert made["cycle_index"] == 12
        assert 0 < made["latency_ms"] < 60_000
        again, other = ready.ask(battery_id=1).json(), ready.ask(battery_id=1, cycle_index=11).json()
        assert made["input_hash"] == again["input_hash"] != other["input_hash"]

    def test_is_filtered_by_battery_model_and_time(self, ready: Any) -> None:
        ready.add_model(mlflow_version="2")
        made = [ready.ask(battery_id=1, model_id=model).json() for model in (1, 2)] + [
            ready.ask(cycle_data=ready.cycle, model_id=2).json()
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
