"""Files and bodies that are refused, on the live API."""

import json
import subprocess
from pathlib import Path

import pytest

MEBIBYTE = 1024 * 1024
MAX_UPLOAD_BYTES = 100 * MEBIBYTE


class TestUploads:
    @pytest.mark.parametrize(
        "content",
        [b"", b"\x89PNG\r\n\x1a\n" + bytes(500), b"PK\x03\x04" + bytes(500), bytes(range(256)) * 16],
        ids=["empty", "PNG", "zip", "bytes"],
    )
    def test_what_is_no_mat_file_is_refused(self, api, expect_error, content):
        answer = api("POST", "/batteries", files={"file": ("battery.mat", content)})
        error = expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")
        assert error["message"].startswith("Unable to parse .mat file")

    def test_a_mat_file_without_cycles_is_refused(self, api, shared_data, expect_error):
        path = shared_data / "not_cycles" / "dmegc_Exp25_R1.mat"
        with path.open("rb") as file:
            answer = api("POST", "/batteries", files={"file": (path.name, file)})
        expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")

    def test_a_truncated_file_is_refused_and_leaves_nothing(self, stack, api, make_cell, expect_error):
        kept = api.get("/batteries")["meta"]["total"]
        files = sorted(path for path in (stack.home / "data").rglob("*") if path.is_file())
        whole = make_cell("whole.mat", 20).read_bytes()
        for share in (0.01, 0.3, 0.9):
            answer = api("POST", "/batteries", files={"file": ("cut.mat", whole[: int(len(whole) * share)])})
            expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")
        assert api.get("/batteries")["meta"]["total"] == kept
        assert sorted(path for path in (stack.home / "data").rglob("*") if path.is_file()) == files

    def test_an_upload_without_file_names_the_field(self, api, expect_error):
        answer = api("POST", "/batteries", files={"manufacturer": (None, "Severson")})
        expect_error(answer, 422, "MISSING_REQUIRED_FIELD", "file")

    @pytest.mark.parametrize("capacity", ["0", "-1", "nan", "inf", "many"])
    def test_a_capacity_that_no_cell_has_is_422(self, api, make_cell, expect_error, capacity):
        with make_cell("short.mat", 3).open("rb") as file:
            form = {"nominal_capacity": capacity}
            answer = api("POST", "/batteries", files={"file": ("short.mat", file)}, data=form)
        expect_error(answer, 422, "VALIDATION_ERROR", "nominal_capacity")

    @pytest.mark.parametrize(
        "name",
        ["../../outside.mat", "/etc/outside.mat", "zelle ü 電池.mat", "a" * 300 + ".mat"],
        ids=["up", "absolute", "not ASCII", "long"],
    )
    def test_a_strange_name_is_refused_or_writes_nowhere_else(self, stack, api, make_cell, name):
        with make_cell("short.mat", 3).open("rb") as file:
            answer = api("POST", "/batteries", files={"file": (name, file)})
        assert answer.status_code in {201, 400, 422}, answer.text[:300]
        if answer.status_code == 201:
            assert "/" not in answer.json()["filename"]
            assert (stack.home / "data" / "raw" / f"{answer.json()['id']}.mat").is_file()
        assert not list(stack.home.rglob("*outside*"))

    def test_all_but_the_file_may_be_left_out(self, api, make_cell):
        made = api.upload(make_cell("plain.mat", 3))
        assert (made["manufacturer"], made["chemistry"]) == (None, None)
        assert made["total_cycles"] == 3

    @pytest.mark.parametrize(
        ("field", "value"),
        [("nominal_capacity", 0), ("nominal_capacity", "1.1 Ah"), ("manufacturer", 5), ("chemistry", ["LFP"])],
    )
    def test_a_patch_with_a_wrong_value_names_the_field(self, api, cell, expect_error, field, value):
        answer = api("PATCH", f"/batteries/{cell['id']}", json={field: value})
        expect_error(answer, 422, "VALIDATION_ERROR", field)


class TestBodySize:
    """Bodies made on the fly and sent by curl, with and without a Content-Length."""

    @staticmethod
    def curl(stack, token: str | None, path: str, source: str, tmp_path: Path, *options: str) -> tuple[int, dict]:
        """Status and body of the answer to what the shell command ``source`` prints."""
        authorization = f'-H "Authorization: Bearer {token}"' if token else ""
        script = (
            f"{source} | curl -sS -X POST {stack.root}/api/v1{path} {authorization} {' '.join(options)} "
            f"-o {tmp_path}/answer.json -w '%{{http_code}}'"
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout, done.stderr
        return int(done.stdout), json.loads((tmp_path / "answer.json").read_text())

    CHUNKED = '-H "Transfer-Encoding: chunked"'
    FILE = "-F 'file=@-;filename=big.mat'"

    @pytest.mark.parametrize("options", [(CHUNKED, FILE), (FILE,)], ids=["without length", "with length"])
    def test_a_file_above_100_mb_is_413(self, stack, api, tmp_path, options):
        source = f"head -c {MAX_UPLOAD_BYTES + 1} /dev/zero"
        status, body = self.curl(stack, api.token, "/batteries", source, tmp_path, *options)
        assert (status, body["error"]["code"]) == (413, "FILE_TOO_LARGE")
        assert body["error"]["trace_id"].startswith("req_")

    def test_a_file_of_100_mb_is_not_too_large(self, stack, api, tmp_path):
        source = f"head -c {MAX_UPLOAD_BYTES} /dev/zero"
        status, body = self.curl(stack, api.token, "/batteries", source, tmp_path, self.FILE)
        assert (status, body["error"]["code"]) == (400, "INVALID_FILE_FORMAT")  # zeros are no MATLAB file

    def test_a_stranger_is_refused_before_the_body_is_read(self, stack, tmp_path):
        source = f"head -c {2 * MAX_UPLOAD_BYTES} /dev/zero"
        status, body = self.curl(stack, None, "/batteries", source, tmp_path, self.CHUNKED, self.FILE)
        assert (status, body["error"]["code"]) == (401, "MISSING_TOKEN")

    @pytest.mark.parametrize(
        ("path", "media"),
        [
            ("/predictions", "application/json"),
            ("/training-jobs", "application/json"),
            ("/auth/token", "application/x-www-form-urlencoded"),
        ],
    )
    def test_a_huge_body_elsewhere_is_413(self, stack, api, tmp_path, path, media):
        source = f"head -c {MAX_UPLOAD_BYTES + 1} /dev/zero"
        options = (self.CHUNKED, f"-H 'Content-Type: {media}'", "--data-binary @-")
        status, body = self.curl(stack, api.token, path, source, tmp_path, *options)
        assert (status, body["error"]["code"]) == (413, "FILE_TOO_LARGE")
