"""Predictions of one cycle whose samples are sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import quick_json
from batteries.matfiles.reader import read


class TestByCycle:
    def test_takes_the_arrays_of_the_contract(self, ready: Any) -> None:
        answer = ready.ask(cycle_data=ready.cycle)
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
        assert ready.ask(cycle_data=data).status_code == 200
        ready.ask(battery_id=1)
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
        answer = ready.ask(cycle_data=ready.cycle | changes)
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
        neither = ready.ask()
        assert (neither.status_code, neither.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
        both = ready.ask(battery_id=1, cycle_data=ready.cycle)
        assert (both.status_code, both.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


class TestDoubts:
    def warnings(self, platform: Any, **cycle: Any) -> list[str]:
        answer = platform.ask(cycle_data=platform.cycle | cycle)
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
        assert ready.ask(cycle_data=two).status_code == 200
        answer = ready.ask(cycle_data=two | {"current": [0.0, 0.0]})
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "cycle_data"
        issue = answer.json()["error"]["details"][0]["issue"]
        assert "neither a charge nor" in issue
        assert "cycle_data.time is missing" in issue

    def test_that_tell_nothing_are_told_of_another_unit_too(self, ready: Any) -> None:
        load = {"voltage": [4200.0, 3900.0, 3600.0], "current": [-2000.0] * 3, "temperature": None}
        answer = ready.ask(cycle_data=load)
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
