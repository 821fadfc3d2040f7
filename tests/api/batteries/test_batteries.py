"""Batteries over HTTP: pages, changes, removal, and their cycles."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from store import changes


class TestList:
    def test_pages_as_the_contract_has_them(self, platform: Any, mat_file: Path) -> None:
        for maker in ("A", "A", "B"):
            platform.upload(mat_file, manufacturer=maker)
        first = platform.http.get("/api/v1/batteries", params={"page_size": 2}).json()
        assert [battery["id"] for battery in first["items"]] == [1, 2]
        assert first["meta"] == {"page": 1, "page_size": 2, "total": 3, "total_pages": 2}
        past = platform.http.get("/api/v1/batteries", params={"page": 9}).json()
        assert past == {"items": [], "meta": {"page": 9, "page_size": 20, "total": 3, "total_pages": 1}}
        of_a = platform.http.get("/api/v1/batteries", params={"manufacturer": "A"}).json()
        assert [battery["id"] for battery in of_a["items"]] == [1, 2]

    @pytest.mark.parametrize("wrong", ["page=0", "page=x", "page_size=0", "page_size=101", f"page={10**30}"])
    def test_out_of_range_is_422_with_the_field_named(self, platform: Any, wrong: str) -> None:
        answer = platform.http.get(f"/api/v1/batteries?{wrong}")
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "VALIDATION_ERROR"
        assert answer.json()["error"]["details"][0]["field"] == wrong.partition("=")[0]


class TestRead:
    @pytest.mark.parametrize("battery_id", [999, 0, -1, 10**12, 10**30])
    def test_of_an_unknown_battery_is_404(self, platform: Any, battery_id: int) -> None:
        answer = platform.http.get(f"/api/v1/batteries/{battery_id}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "RESOURCE_NOT_FOUND"
        assert answer.json()["error"]["message"] == f"Battery with ID {battery_id} not found"

    def test_gives_what_the_upload_gave(self, platform: Any, mat_file: Path) -> None:
        battery = platform.upload(mat_file)
        assert platform.http.get(f"/api/v1/batteries/{battery['id']}").json() == battery


class TestChange:
    def test_of_one_field_leaves_the_others_and_moves_updated_at(self, platform: Any, mat_file: Path) -> None:
        before = platform.upload(mat_file, manufacturer="Severson", chemistry="LFP")
        answer = platform.http.patch("/api/v1/batteries/1", json={"chemistry": "NMC"})
        after = answer.json()
        assert answer.status_code == 200
        assert (after["manufacturer"], after["chemistry"]) == ("Severson", "NMC")
        assert after["created_at"] == before["created_at"]
        assert after["updated_at"] > before["updated_at"]

    def test_of_the_nominal_capacity_gives_new_soh(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file, nominal_capacity="2.0")
        first = platform.http.get("/api/v1/batteries/1/cycles").json()["items"][0]
        assert platform.http.patch("/api/v1/batteries/1", json={"nominal_capacity": 4.0}).status_code == 200
        second = platform.http.get("/api/v1/batteries/1/cycles").json()["items"][0]
        assert second["id"] == first["id"]
        assert second["soh"] == pytest.approx(first["capacity"] / 4.0, rel=1e-6)

    def test_of_the_nominal_capacity_to_null_keeps_what_the_file_said_where_none_was_given(
        self, platform: Any, mat_file: Path
    ) -> None:
        before = platform.upload(mat_file)
        after = platform.http.patch("/api/v1/batteries/1", json={"nominal_capacity": None}).json()
        assert before["nominal_capacity"] is not None
        assert after["nominal_capacity"] == before["nominal_capacity"]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"filename": "x"}, "filename"),
            ({"nominal_capacity": -1}, "nominal_capacity"),
            ({"manufacturer": "x" * 300}, "manufacturer"),
            ({"chemistry": 5}, "chemistry"),
            ({"chemistry": "L\x00FP"}, "chemistry"),
        ],
    )
    def test_that_is_not_valid_is_422_with_the_field_named(
        self, platform: Any, mat_file: Path, changes: dict[str, Any], field: str
    ) -> None:
        before = platform.upload(mat_file)
        answer = platform.http.patch("/api/v1/batteries/1", json=changes)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == field
        assert platform.http.get("/api/v1/batteries/1").json() == before

    def test_of_nominal_capacities_runs_no_more_processes_than_uploads_may(
        self, platform: Any, mat_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform.upload(mat_file)
        running, most, lock = 0, 0, threading.Lock()
        update = changes.update_battery

        def counted(battery_id: int, **asked: Any) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            try:
                return update(battery_id, **asked)
            finally:
                with lock:
                    running -= 1

        monkeypatch.setattr(changes, "update_battery", counted)
        with ThreadPoolExecutor(6) as pool:
            asked = [{"nominal_capacity": 1.0 + n / 10} for n in range(6)]
            answers = list(pool.map(lambda body: platform.http.patch("/api/v1/batteries/1", json=body), asked))
        assert [answer.status_code for answer in answers] == [200] * 6
        assert most == 2

    def test_of_an_unknown_battery_is_404(self, platform: Any) -> None:
        assert platform.http.patch("/api/v1/batteries/7", json={"chemistry": "NMC"}).status_code == 404


class TestDelete:
    def test_removes_rows_and_files(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file)
        assert len(platform.received()) == 2
        answer = platform.http.delete("/api/v1/batteries/1")
        assert (answer.status_code, answer.content) == (204, b"")
        assert platform.received() == []
        assert platform.http.get("/api/v1/batteries/1/cycles").status_code == 404
        assert platform.http.delete("/api/v1/batteries/1").status_code == 404

    def test_never_gives_its_id_to_another(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file)
        platform.http.delete("/api/v1/batteries/1")
        assert platform.upload(mat_file)["id"] == 2

    def test_while_a_job_uses_it_is_409(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file)
        job = platform.add_job([1])
        answer = platform.http.delete("/api/v1/batteries/1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "RESOURCE_CONFLICT")
        platform.event(job.id, "error", error_message="no")
        assert platform.http.delete("/api/v1/batteries/1").status_code == 204


class TestCycles:
    def test_hold_equally_long_samples_and_labels(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file, nominal_capacity="1.1")
        page = platform.http.get("/api/v1/batteries/1/cycles", params={"page": 2, "page_size": 5}).json()
        assert page["meta"] == {"page": 2, "page_size": 5, "total": 12, "total_pages": 3}
        assert [cycle["cycle_index"] for cycle in page["items"]] == [6, 7, 8, 9, 10]
        for cycle in page["items"]:
            assert cycle["battery_id"] == 1
            assert len(cycle["voltage"]) == len(cycle["current"]) == len(cycle["temperature"]) > 50
            assert cycle["soh"] == pytest.approx(min(1.0, cycle["capacity"] / 1.1), rel=1e-6)

    def test_count_down_to_the_first_below_the_end_of_life(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file, nominal_capacity="1.1")
        cycles = platform.http.get("/api/v1/batteries/1/cycles").json()["items"]
        end = next(cycle["cycle_index"] for cycle in cycles if cycle["soh"] < 0.8)
        assert [cycle["rul"] for cycle in cycles] == [max(end - cycle["cycle_index"], 0) for cycle in cycles]

    def test_of_one_index(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file)
        page = platform.http.get("/api/v1/batteries/1/cycles", params={"cycle_index": 7}).json()
        assert [cycle["cycle_index"] for cycle in page["items"]] == [7]
        assert page["meta"]["total"] == 1
        none = platform.http.get("/api/v1/batteries/1/cycles", params={"cycle_index": 700}).json()
        assert (none["items"], none["meta"]["total"]) == ([], 0)

    def test_of_a_fresh_cell_above_nominal_read_1(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file, nominal_capacity="0.9")
        cycle = platform.http.get("/api/v1/batteries/1/cycles").json()["items"][0]
        assert cycle["capacity"] > 1.0
        assert cycle["soh"] == 1.0
