"""Cycles, summaries and original files, read back in every format."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.batteries import tables
from api.batteries.columns import FIELDS, SCALARS
from api.batteries.downloads import disposition
from api.batteries.formats import FORMATS
from batteries.samples import synthetic_cell, write_mat

CYCLES = "/api/v1/batteries/1/cycles"
SUMMARY = "/api/v1/batteries/1/summary"
FILE = "/api/v1/batteries/1/file"
ARRAYS = ["voltage", "current", "temperature"]


def frame(answer: Any) -> pd.DataFrame:
    """The table in an answer, as a data scientist reads it."""
    content = io.BytesIO(answer.content)
    match answer.headers["Content-Type"].partition(";")[0]:
        case "application/vnd.apache.arrow.stream":
            return pa.ipc.open_stream(content).read_all().to_pandas()
        case "application/vnd.apache.arrow.file":
            return pa.ipc.open_file(content).read_all().to_pandas()
        case "application/vnd.apache.parquet":
            return pq.read_table(content).to_pandas()
        case "text/csv":
            return pd.read_csv(content)
        case other:
            raise AssertionError(other)


@pytest.fixture
def stored(platform: Any, mat_file: Path) -> Any:
    """A platform with one battery of 12 cycles."""
    platform.upload(mat_file, nominal_capacity="1.1")
    return platform.http


@pytest.fixture(scope="session")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell of 130 cycles: more than one row group."""
    cell = synthetic_cell(cycles=130, nominal_capacity_ah=1.1, seed=3)
    path = tmp_path_factory.mktemp("mat") / "long.mat"
    write_mat(cell, path)
    return path


class TestFormat:
    def test_is_chosen_by_name_and_by_accept(self, stored: Any) -> None:
        for kind in FORMATS:
            by_name = stored.get(CYCLES, params={"format": kind.name, "page": 1})
            by_accept = stored.get(CYCLES, params={"page": 1}, headers={"Accept": kind.media_type})
            assert by_name.status_code == by_accept.status_code == 200
            assert by_name.headers["Content-Type"].startswith(kind.media_type)
            assert by_accept.headers["Content-Type"] == by_name.headers["Content-Type"]
            assert by_accept.content == by_name.content

    def test_follows_the_weights_of_accept(self, stored: Any) -> None:
        for accept, media_type in [
            ("*/*", "application/json"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
            ("text/csv;q=0.5, application/vnd.apache.parquet;q=0.9", "application/vnd.apache.parquet"),
            ("application/json;q=0.1, */*", "application/vnd.apache.arrow.stream"),
            ("application/json;q=0, text/*", "text/csv"),
            ("TEXT/CSV; Q=1", "text/csv"),
            ("text/csv;q=high, application/json", "application/json"),
            ("", "application/json"),
        ]:
            answer = stored.get(CYCLES, headers={"Accept": accept})
            assert answer.headers["Content-Type"].partition(";")[0] == media_type

    def test_that_cannot_be_given_is_406_in_the_envelope(self, stored: Any) -> None:
        for accept in ["image/png", "application/json;q=0", "text/html"]:
            for path in (CYCLES, SUMMARY):
                answer = stored.get(path, headers={"Accept": accept})
                assert (answer.status_code, answer.json()["error"]["code"]) == (406, "NOT_ACCEPTABLE")
                assert "text/csv" in answer.json()["error"]["message"]

    def test_that_nobody_knows_is_422_with_the_field_named(self, stored: Any) -> None:
        answer = stored.get(CYCLES, params={"format": "xml"})
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (422, "format")


class TestTables:
    def test_hold_what_json_holds(self, stored: Any) -> None:
        for name in ["arrow", "arrow-file", "parquet"]:
            table = frame(stored.get(CYCLES, params={"format": name}))
            items = stored.get(CYCLES, params={"fields": ",".join(FIELDS)}).json()["items"]
            assert list(table.columns) == list(FIELDS)
            assert len(table) == len(items) == 12
            for (_, row), item in zip(table.iterrows(), items, strict=True):
                for column in SCALARS:
                    assert row[column] == pytest.approx(item[column]) or (pd.isna(row[column]) and item[column] is None)
                for column in ("time", *ARRAYS):
                    assert row[column].dtype == np.float32
                    np.testing.assert_array_equal(row[column], np.array(item[column], dtype=np.float32))

    def test_csv_has_a_row_a_sample(self, stored: Any) -> None:
        answer = stored.get(CYCLES, params={"format": "csv", "fields": "cycle_index,soh,time,voltage"})
        assert answer.text.partition("\n")[0] == "cycle_index,soh,time,voltage"
        table = frame(answer)
        items = stored.get(CYCLES).json()["items"]
        assert len(table) == sum(len(item["voltage"]) for item in items)
        seventh = table[table["cycle_index"] == 7]
        assert seventh["voltage"].to_numpy(np.float32).tolist() == np.float32(items[6]["voltage"]).tolist()
        assert seventh["soh"].unique().tolist() == [items[6]["soh"]]
        assert seventh["time"].is_monotonic_increasing

    def test_csv_is_the_same_however_few_lines_are_written_at_a_time(
        self, stored: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = stored.get(CYCLES, params={"format": "csv"}).content
        monkeypatch.setattr(tables, "LINES_AT_ONCE", 77)
        assert stored.get(CYCLES, params={"format": "csv"}).content == whole

    def test_what_is_unknown_is_null_and_empty(self, platform: Any, tmp_path: Path) -> None:
        cell = synthetic_cell(cycles=3, nominal_capacity_ah=1.1, seed=1)
        without = tuple(
            type(cycle)(cycle.index, cycle.time_s, cycle.voltage_v, cycle.current_a, cycle.temperature_c * np.nan)
            for cycle in cell.cycles
        )
        write_mat(type(cell)(without, "generic"), tmp_path / "cold.mat")
        platform.upload(tmp_path / "cold.mat")
        arrow = pa.ipc.open_stream(platform.http.get(CYCLES, params={"format": "arrow"}).content).read_all()
        assert arrow.column("max_temperature_c").null_count == 3
        assert np.isnan(arrow.column("temperature")[0].as_py()).all()
        text = platform.http.get(
            CYCLES, params={"format": "csv", "fields": "max_temperature_c,voltage,temperature"}
        ).text
        assert {(line[0], line[-1]) for line in (row.split(",") for row in text.split()[1:])} == {("", "")}
        assert platform.http.get(SUMMARY).json()["max_temperature_c"] == [None] * 3

    def test_hold_a_whole_life_unless_a_page_is_asked_for(self, platform: Any, long_file: Path) -> None:
        platform.upload(long_file)
        for name in ["arrow", "parquet", "csv"]:
            whole = platform.http.get(CYCLES, params={"format": name, "fields": "cycle_index,voltage"})
            assert whole.headers["X-Total-Count"] == "130"
            assert "Link" not in whole.headers
            assert frame(whole)["cycle_index"].unique().tolist() == list(range(1, 131))
            page = platform.http.get(CYCLES, params={"format": name, "page": 2, "fields": "cycle_index,voltage"})
            assert frame(page)["cycle_index"].unique().tolist() == list(range(21, 41))

    def test_name_the_pages_beside_theirs(self, platform: Any, long_file: Path) -> None:
        platform.upload(long_file)
        links = platform.http.get(CYCLES, params={"format": "csv", "page": 2, "page_size": 50}).links
        assert set(links) == {"first", "prev", "next", "last"}
        last = platform.http.get(links["next"]["url"])
        assert last.url.params["format"] == "csv"
        assert frame(last)["cycle_index"].unique().tolist() == list(range(101, 131))
        assert set(last.links) == {"first", "prev", "last"}
        past = platform.http.get(CYCLES, params={"format": "csv", "page": 9, "page_size": 50})
        assert (frame(past).empty, past.links["prev"]["url"], past.headers["X-Total-Count"]) == (
            True,
            f"{CYCLES}?format=csv&page_size=50&page=3",
            "130",
        )

    def test_of_a_cycle_that_is_not_there_are_empty(self, stored: Any) -> None:
        for name in ["arrow", "arrow-file", "parquet", "csv"]:
            answer = stored.get(CYCLES, params={"format": name, "cycle_index": 700})
            assert {"id", "cycle_index", "soh", "time", "voltage"} < set(frame(answer).columns)
            assert frame(answer).empty
            assert answer.headers["X-Total-Count"] == "0"
            one = stored.get(CYCLES, params={"format": name, "cycle_index": 7})
            assert frame(one)["cycle_index"].unique().tolist() == [7]

    def test_of_an_unknown_battery_are_404(self, stored: Any) -> None:
        for path in (CYCLES, SUMMARY, FILE):
            answer = stored.get(path.replace("/1/", "/9/"), headers={"Accept": "text/csv, */*"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RESOURCE_NOT_FOUND")

    def test_of_a_battery_that_goes_meanwhile_are_404(self, stored: Any, platform: Any) -> None:
        (platform.settings.data / "cycles" / "1.parquet").unlink()
        (platform.settings.data / "raw" / "1.mat").unlink()
        for path in (CYCLES, f"{CYCLES}?format=csv", f"{CYCLES}?format=parquet", FILE):
            answer = stored.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RESOURCE_NOT_FOUND"), path


class TestFields:
    def test_are_all_that_is_answered(self, stored: Any) -> None:
        item = stored.get(CYCLES, params={"fields": "time,soh, cycle_index"}).json()["items"][0]
        assert list(item) == ["cycle_index", "soh", "time"]
        assert item["time"][0] == 0
        assert len(item["time"]) > 50

    def test_may_be_given_one_by_one(self, stored: Any) -> None:
        item = stored.get(f"{CYCLES}?fields=soh&fields=rul").json()["items"][0]
        assert list(item) == ["soh", "rul"]

    def test_left_out_are_those_of_the_contract_and_every_scalar(self, stored: Any) -> None:
        for query in ("", "?fields="):
            item = stored.get(f"{CYCLES}{query}").json()["items"][0]
            assert set(item) == {*SCALARS, *ARRAYS}

    def test_that_are_unknown_are_422_with_the_field_named(self, stored: Any) -> None:
        for path, wrong in [(CYCLES, "voltag"), (SUMMARY, "voltage"), (CYCLES, "position")]:
            answer = stored.get(path, params={"fields": f"soh,{wrong}"})
            assert answer.status_code == 422
            [detail] = answer.json()["error"]["details"]
            assert detail["field"] == "fields"
            assert detail["issue"].startswith(f"Unknown: {wrong};")


class TestSummary:
    def test_holds_every_cycle_as_columns(self, platform: Any, long_file: Path) -> None:
        platform.upload(long_file)
        columns = platform.http.get(SUMMARY).json()
        assert columns.pop("battery_id") == 1
        assert set(columns) == set(SCALARS) - {"id", "battery_id"}
        assert {len(values) for values in columns.values()} == {130}
        items = platform.http.get(CYCLES, params={"page": 6}).json()["items"]
        for name, values in columns.items():
            assert values[100:120] == [item[name] for item in items], name
        assert len(pd.DataFrame(columns)) == 130

    def test_is_a_table_too(self, stored: Any) -> None:
        for name in ["arrow", "parquet", "csv"]:
            table = frame(stored.get(SUMMARY, params={"format": name, "fields": "cycle_index,capacity,complete"}))
            assert list(table.columns) == ["cycle_index", "capacity", "complete"]
            assert table["capacity"].tolist() == pytest.approx(stored.get(SUMMARY).json()["capacity"])
            assert table["complete"].all()


class TestConditional:
    PATHS = (CYCLES, f"{CYCLES}?format=csv", f"{CYCLES}?format=parquet&page=1", SUMMARY, f"{SUMMARY}?format=arrow")

    def test_answer_that_the_client_has_is_304_without_a_body(self, stored: Any) -> None:
        for path in (*self.PATHS, FILE):
            first = stored.get(path)
            assert first.headers["ETag"].startswith('"')
            assert first.headers["Cache-Control"] == "private, no-cache"
            assert first.headers["Vary"] == "Accept, Authorization"
            for named in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
                again = stored.get(path, headers={"If-None-Match": named})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["ETag"] == first.headers["ETag"]
                assert again.headers["Cache-Control"] == "private, no-cache"
            assert stored.get(path, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_each_query_and_format_has_a_tag_of_its_own(self, stored: Any) -> None:
        more = (f"{CYCLES}?page=2", f"{CYCLES}?fields=soh", f"{CYCLES}?cycle_index=1", f"{CYCLES}?page_size=5")
        tags = [stored.get(path).headers["ETag"] for path in (*self.PATHS, *more)]
        assert len(set(tags)) == len(tags)
        assert stored.get(CYCLES, headers={"Accept": "text/csv"}).headers["ETag"] == tags[1]

    def test_a_change_gives_every_answer_but_the_file_another_tag(self, stored: Any) -> None:
        tags = {path: stored.get(path).headers["ETag"] for path in (*self.PATHS, FILE)}
        assert stored.patch("/api/v1/batteries/1", json={"nominal_capacity": 2.2}).status_code == 200
        for path, tag in tags.items():
            changed = stored.get(path, headers={"If-None-Match": tag})
            assert changed.status_code == (304 if path == FILE else 200), path
            assert (changed.headers["ETag"] == tag) is (path == FILE)

    def test_a_page_that_was_kept_is_not_shown_after_a_change(self, stored: Any) -> None:
        before = stored.get(CYCLES).json()["items"][0]["soh"]
        assert stored.get(CYCLES).json()["items"][0]["soh"] == before
        stored.patch("/api/v1/batteries/1", json={"nominal_capacity": 2.2})
        assert stored.get(CYCLES).json()["items"][0]["soh"] == pytest.approx(before / 2, rel=1e-3)

    def test_head_is_answered_with_the_headers_of_get(self, stored: Any) -> None:
        for path in (*self.PATHS, FILE):
            get, head = stored.get(path), stored.head(path)
            assert head.status_code == 200
            for name in ("ETag", "Content-Type", "Cache-Control"):
                assert head.headers[name] == get.headers[name]


class TestFile:
    def test_is_the_one_that_was_uploaded(self, stored: Any, mat_file: Path) -> None:
        answer = stored.get(FILE)
        assert answer.content == mat_file.read_bytes()
        assert answer.headers["Content-Length"] == str(mat_file.stat().st_size)
        assert 'filename="battery_cell_001.mat"' in answer.headers["Content-Disposition"]
        assert answer.headers["Accept-Ranges"] == "bytes"

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ('a"; x=y.mat', "attachment; filename=\"a_; x=y.mat\"; filename*=UTF-8''a%22%3B%20x%3Dy.mat"),
            ("müde.mat", "attachment; filename=\"m_de.mat\"; filename*=UTF-8''m%C3%BCde.mat"),
        ],
    )
    def test_is_named_safely(self, name: str, said: str) -> None:
        assert disposition(name) == said

    def test_a_range_of_it_is_206(self, stored: Any, mat_file: Path) -> None:
        whole = mat_file.read_bytes()
        parts = {
            "bytes=0-9": slice(0, 10),
            "bytes=100-": slice(100, None),
            "bytes=-7": slice(-7, None),
            "bytes=5-99999999": slice(5, None),
        }
        for asked, part in parts.items():
            answer = stored.get(FILE, headers={"Range": asked})
            assert answer.status_code == 206
            assert answer.content == whole[part]
            first = range(len(whole))[part][0]
            last = first + len(answer.content) - 1
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"

    def test_what_is_no_single_range_is_the_whole(self, stored: Any, mat_file: Path) -> None:
        for asked in ("bytes=", "bytes=9-3", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b"):
            answer = stored.get(FILE, headers={"Range": asked})
            assert (answer.status_code, len(answer.content)) == (200, mat_file.stat().st_size)

    def test_a_range_past_its_end_is_416_in_the_envelope(self, stored: Any, mat_file: Path) -> None:
        for asked in ("bytes=99999999-", "bytes=-0"):
            answer = stored.get(FILE, headers={"Range": asked})
            assert (answer.status_code, answer.json()["error"]["code"]) == (416, "RANGE_NOT_SATISFIABLE")
            assert answer.headers["Content-Range"] == f"bytes */{mat_file.stat().st_size}"

    def test_a_range_of_other_bytes_is_the_whole(self, stored: Any, mat_file: Path) -> None:
        tag = stored.get(FILE).headers["ETag"]
        part = stored.get(FILE, headers={"Range": "bytes=0-9", "If-Range": tag})
        whole = stored.get(FILE, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
        assert (part.status_code, whole.status_code) == (206, 200)
        assert len(whole.content) == mat_file.stat().st_size
