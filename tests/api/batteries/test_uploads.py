"""Uploads over HTTP: what is taken, what is refused, and what is left behind."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from api.batteries import uploads
from api.errors import ValidationFailed

BATTERY_KEYS = {
    "id",
    "filename",
    "total_cycles",
    "nominal_capacity",
    "manufacturer",
    "chemistry",
    "created_at",
    "updated_at",
}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


class TestUpload:
    def test_answers_201_with_what_the_file_and_the_form_say(self, platform: Any, mat_file: Path) -> None:
        battery = platform.upload(mat_file, manufacturer="Severson", chemistry="LFP", nominal_capacity="1.1")
        assert battery.keys() >= BATTERY_KEYS
        assert battery["filename"] == "battery_cell_001.mat"
        assert battery["total_cycles"] == 12
        assert (battery["manufacturer"], battery["chemistry"], battery["nominal_capacity"]) == ("Severson", "LFP", 1.1)
        assert TIMESTAMP.fullmatch(battery["created_at"])
        assert TIMESTAMP.fullmatch(battery["updated_at"])

    def test_asks_for_a_data_version_afterwards(self, platform: Any, mat_file: Path, eventually: Any) -> None:
        platform.upload(mat_file)
        eventually(lambda: platform.prefect.of("version-data/version-data"), 5, "version-data asked for")

    def test_does_not_need_prefect_and_asks_again_when_it_is_back(
        self, platform: Any, mat_file: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.outbox.RETRY_S", 0.05)
        platform.prefect.away = True
        assert platform.upload(mat_file)["id"] == 1
        assert platform.prefect.runs == {}
        platform.prefect.away = False
        platform.app.state.running.outbox.nudge()
        eventually(lambda: platform.prefect.of("version-data/version-data"), 5, "version-data asked for again")

    def test_without_a_file_is_422_and_names_the_field(self, platform: Any) -> None:
        answer = platform.http.post("/api/v1/batteries", files={"other": ("x.txt", b"x")}, data={"manufacturer": "X"})
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "MISSING_REQUIRED_FIELD"
        assert answer.json()["error"]["details"][0]["field"] == "file"

    def test_with_the_file_under_another_name_says_which_was_sent_and_which_is_wanted(
        self, platform: Any, mat_file: Path
    ) -> None:
        answer = platform.http.post("/api/v1/batteries", files={"fiel": ("x.mat", mat_file.read_bytes())})
        assert (answer.status_code, answer.json()["error"]["message"]) == (422, "Missing: file; a file came as fiel")
        assert answer.json()["error"]["details"] == [{"field": "file", "issue": "Field required; a file came as fiel"}]

    def test_with_a_wrong_field_is_refused_before_the_rest_of_it_comes(self, tmp_path: Path) -> None:
        head = b'--edge\r\nContent-Disposition: form-data; name="nominal_capcity"\r\n\r\n'

        async def upload() -> AsyncIterator[bytes]:
            yield head
            raise AssertionError("asked for more")

        arguments = {"file_field": "file", "text_fields": frozenset({"cell"}), "largest": 1000, "begun": lambda _: None}
        with pytest.raises(ValidationFailed) as caught:
            asyncio.run(uploads.receive(upload(), "multipart/form-data; boundary=edge", tmp_path, **arguments))
        assert caught.value.details == [{"field": "nominal_capcity", "issue": "Unknown field; the form has file, cell"}]

    def test_of_something_that_is_no_form_is_422(self, platform: Any) -> None:
        answer = platform.http.post("/api/v1/batteries", json={"file": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")

    @pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "much", "1100"])
    def test_with_an_impossible_nominal_capacity_is_422(self, platform: Any, mat_file: Path, value: str) -> None:
        with mat_file.open("rb") as file:
            answer = platform.http.post("/api/v1/batteries", files={"file": file}, data={"nominal_capacity": value})
        assert answer.status_code == 422
        assert answer.json()["error"]["details"][0]["field"] == "nominal_capacity"

    def test_of_the_same_file_again_names_the_earlier_battery(self, platform: Any, mat_file: Path) -> None:
        answers = [platform.upload(mat_file) for _ in range(3)]
        assert [battery["duplicate_of"] for battery in answers] == [None, 1, 1]
        listed = platform.http.get("/api/v1/batteries").json()["items"]
        assert [battery["duplicate_of"] for battery in listed] == [None, 1, 1]
        platform.http.delete("/api/v1/batteries/1")
        assert platform.http.get("/api/v1/batteries/2").json()["duplicate_of"] is None
        assert platform.http.get("/api/v1/batteries/3").json()["duplicate_of"] == 2
        changed = platform.http.patch("/api/v1/batteries/3", json={"chemistry": "LFP"}).json()
        assert changed["duplicate_of"] == 2

    def test_of_another_cell_than_the_only_one_says_that_there_is_one(self, platform: Any, mat_file: Path) -> None:
        with mat_file.open("rb") as file:
            answer = platform.http.post("/api/v1/batteries", files={"file": file}, data={"cell": "1"})
        assert answer.status_code == 422
        (detail,) = answer.json()["error"]["details"]
        assert detail["field"] == "cell"
        assert detail["issue"].startswith("The file holds one cell alone: 0 (")

    def test_takes_empty_fields_as_left_out(self, platform: Any, mat_file: Path) -> None:
        assert platform.upload(mat_file, nominal_capacity="", chemistry="  ")["total_cycles"] == 12

    @pytest.mark.parametrize(
        "content", [b"", b"\x89PNG\r\n\x1a\n", os.urandom(4096), b"MATLAB 5.0 MAT-file" + bytes(200)]
    )
    def test_of_no_mat_file_is_400_and_leaves_nothing(self, platform: Any, content: bytes) -> None:
        answer = platform.http.post("/api/v1/batteries", files={"file": ("battery.mat", content)})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("INVALID_FILE_FORMAT", "Unable to parse .mat file")
        assert error["details"][0]["field"] == "file"
        assert platform.received() == []
        assert platform.http.get("/api/v1/batteries").json()["meta"]["total"] == 0

    def test_with_two_files_is_422_even_when_the_first_has_no_name(self, platform: Any, mat_file: Path) -> None:
        part = '--b\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\n\r\nAAAA\r\n'
        body = part.format("") + part.format("x.mat") + "--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = platform.http.post("/api/v1/batteries", content=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == [{"field": "file", "issue": "Only one file may be sent"}]

    @pytest.mark.parametrize("lost", [len("\r\n--b--\r\n"), len("--\r\n"), len(".2\r\n--b--\r\n")])
    def test_of_a_form_that_ends_before_its_end_is_422_and_leaves_nothing(
        self, platform: Any, mat_file: Path, lost: int
    ) -> None:
        part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
        body = part.format("file", '; filename="x.mat"').encode() + mat_file.read_bytes() + b"\r\n"
        body += part.format("nominal_capacity", "").encode() + b"2.2\r\n--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = platform.http.post("/api/v1/batteries", content=body[:-lost], headers=headers)
        assert answer.status_code == 422
        issue = "Not a readable multipart form"
        assert answer.json()["error"]["details"] == [{"field": "body", "issue": issue}]
        assert platform.received() == []
        assert platform.http.post("/api/v1/batteries", content=body, headers=headers).status_code == 201

    def test_that_stalls_is_given_up(self, tmp_path: Path) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.mat"\r\n\r\nMATLAB'
            await asyncio.Event().wait()

        async def main() -> None:
            async for _ in uploads.without_stalling(half(), 0.01):
                pass

        with pytest.raises(ValidationFailed) as caught:
            asyncio.run(main())
        assert (caught.value.http_status, caught.value.headers) == (408, {"Connection": "close"})

    @pytest.mark.parametrize("after_the_file", [True, False])
    def test_with_a_field_of_another_name_is_422_and_names_both(
        self, platform: Any, mat_file: Path, *, after_the_file: bool
    ) -> None:
        parts = [("file", ("x.mat", mat_file.read_bytes())), ("nominal_capcity", (None, "1.1"))]
        answer = platform.http.post("/api/v1/batteries", files=parts if after_the_file else parts[::-1])
        assert answer.status_code == 422
        known = "file, cell, chemistry, manufacturer, nominal_capacity"
        assert answer.json()["error"]["details"] == [
            {"field": "nominal_capcity", "issue": f"Unknown field; the form has {known}"}
        ]
        assert platform.received() == []

    def test_with_a_file_in_the_place_of_a_text_is_422(self, platform: Any, mat_file: Path) -> None:
        files = {"manufacturer": ("x.txt", b"Severson"), "file": ("x.mat", mat_file.read_bytes())}
        answer = platform.http.post("/api/v1/batteries", files=files)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == [{"field": "manufacturer", "issue": "Must be sent as text"}]

    @pytest.mark.parametrize(
        ("sent", "shown"),
        [("../../x.mat", "x.mat"), (r"C:\data\x.mat", "x.mat"), ("b" * 300 + ".mat", "b" * 251 + ".mat")],
    )
    def test_never_takes_a_path_from_a_filename(self, platform: Any, mat_file: Path, sent: str, shown: str) -> None:
        with mat_file.open("rb") as file:
            answer = platform.http.post("/api/v1/batteries", files={"file": (sent, file)})
        assert answer.json()["filename"] == shown


class TestUploadOfSeveralCells:
    @pytest.fixture
    def several(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Three cells in one file, Oxford's layout: at 60 s a sample of 0.37 A for two hours, out and in."""
        time = np.arange(120) / 1440.0
        half = {
            "t": time,
            "T": np.full(120, 40.0),
            "C1ch": {"v": np.linspace(3.0, 4.2, 120), "q": np.linspace(0, 740, 120)},
            "C1dc": {"v": np.linspace(4.2, 2.7, 120), "q": np.linspace(0, -740, 120)},
        }
        cell = {
            f"cyc{number:04}": {
                name: {"t": time + number, "v": half[name]["v"], "q": half[name]["q"], "T": half["T"]}
                for name in ("C1ch", "C1dc")
            }
            for number in (0, 100)
        }
        path = tmp_path_factory.mktemp("mat") / "several.mat"
        scipy.io.savemat(path, {f"Cell{number}": cell for number in (1, 2, 3)})
        return path

    def test_is_422_and_lists_them(self, platform: Any, several: Path) -> None:
        for fields in ({}, {"cell": "7"}):
            with several.open("rb") as file:
                answer = platform.http.post("/api/v1/batteries", files={"file": file}, data=fields)
            assert answer.status_code == 422, answer.text
            error = answer.json()["error"]
            assert error["code"] == "VALIDATION_ERROR"
            [detail] = error["details"]
            assert detail["field"] == "cell"
            assert "0 (Cell1), 1 (Cell2), 2 (Cell3)" in detail["issue"]
        assert platform.received() == []

    def test_makes_a_battery_of_the_cell_that_is_chosen(self, platform: Any, several: Path) -> None:
        batteries = [platform.upload(several, cell=str(number)) for number in (0, 2, 2)]
        assert [battery["import_report"]["cell"] for battery in batteries] == ["Cell1", "Cell3", "Cell3"]
        assert [battery["duplicate_of"] for battery in batteries] == [None, None, 2]
        assert len({path.stat().st_ino for path in platform.received() if path.suffix == ".mat"}) == 1


class TestUploadLimit:
    LIMIT = 100_000

    @pytest.fixture
    def small(self, make: Any) -> Any:
        return make(max_upload_bytes=str(self.LIMIT)).sign_in()

    def test_declared_too_large_is_413_before_any_byte_is_read(self, small: Any) -> None:
        sent = []

        def body() -> Any:
            sent.append(1)
            yield b"x" * 1000

        headers = {"Content-Length": str(10 * self.LIMIT), "Content-Type": "multipart/form-data; boundary=b"}
        answer = small.http.post("/api/v1/batteries", content=body(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "FILE_TOO_LARGE")
        assert sent == []

    def test_file_one_byte_too_large_is_413_and_leaves_nothing(self, small: Any) -> None:
        answer = small.http.post("/api/v1/batteries", files={"file": ("x.mat", bytes(self.LIMIT + 1))})
        assert answer.status_code == 413
        assert answer.json()["error"] == {
            "code": "FILE_TOO_LARGE",
            "message": f"The file is larger than {self.LIMIT} bytes",
            "details": [{"field": "file", "issue": f"Larger than {self.LIMIT} bytes"}],
            "trace_id": answer.headers["X-Request-ID"],
        }
        assert small.received() == []

    def test_file_of_exactly_the_limit_is_read(self, small: Any) -> None:
        answer = small.http.post("/api/v1/batteries", files={"file": ("x.mat", bytes(self.LIMIT))})
        assert answer.json()["error"]["code"] == "INVALID_FILE_FORMAT"
