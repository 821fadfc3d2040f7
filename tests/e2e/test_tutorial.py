"""The tutorial as it is written: only base URL, file, ids and credentials are put in."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

import pytest
import requests

CHECKOUT = Path(__file__).resolve().parents[2]
TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EMAIL, PASSWORD = "user@example.com", "secretpassword"
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
JOB_KEYS = {
    "id",
    "status",
    "algorithm",
    "progress",
    "current_epoch",
    "total_epochs",
    "created_at",
    "started_at",
    "finished_at",
    "model_id",
}
HEADING_OR_CODE = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def code_blocks(page: Path) -> list[tuple[str, str, str]]:
    """Heading, language and text of every code block of a page, in order."""
    blocks, heading = [], ""
    for found in HEADING_OR_CODE.finditer(page.read_text()):
        if found["heading"]:
            heading = found["heading"]
        else:
            blocks.append((heading, found["language"], found["text"]))
    return blocks


def block(heading: str, language: str, number: int = 0) -> str:
    """The code block of that language under the heading that starts with these words."""
    blocks = [text for title, spoken, text in code_blocks(TUTORIAL) if title.startswith(heading) and spoken == language]
    return blocks[number]


class Walkthrough:
    """One walk through the tutorial with curl; each step is done once, when first asked for."""

    def __init__(self, stack, folder: Path, cell: Path) -> None:
        self.stack, self.folder = stack, folder
        shutil.copy(cell, folder / "battery_cell_001.mat")
        stack.add_user(EMAIL, PASSWORD)

    def put_in(self, text: str) -> str:
        """The text with this stack's base URL."""
        return text.replace("http://localhost:8000", self.stack.root)

    def shell(self, script: str) -> str:
        """What a bash that has saved the token prints on standard output."""
        environment = os.environ | ({} if "TOKEN" in script and "auth/token" in script else {"TOKEN": self.token})
        done = subprocess.run(
            ["bash", "-c", self.put_in(script)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @cached_property
    def login(self) -> dict:
        script = self.put_in(block("Step 1", "bash"))
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    @cached_property
    def token(self) -> str:
        """Saved as the tutorial says: the export line, with the token put in, read back by a shell."""
        export = re.sub(r'"[^"]*"', f'"{self.login["access_token"]}"', block("Step 1", "bash", 1))
        done = subprocess.run(["bash", "-c", export + 'printf %s "$TOKEN"'], capture_output=True, text=True, check=True)
        return done.stdout

    @cached_property
    def battery(self) -> dict:
        return json.loads(self.shell(block("Step 2", "bash")))

    def with_battery(self, text: str) -> str:
        return re.sub(r"\b125\b", str(self.battery["id"]), text)

    @cached_property
    def job(self) -> dict:
        return json.loads(self.shell(self.with_battery(block("Step 5", "bash"))))

    def with_job(self, text: str) -> str:
        return re.sub(r"training-jobs/43\b", f"training-jobs/{self.job['id']}", text)

    @cached_property
    def polled(self) -> list[dict]:
        """What the endless polling loop printed until the job was over."""
        script = self.put_in(self.with_job(block("Option A", "bash")))
        loop = subprocess.Popen(
            ["bash", "-c", script],
            env=os.environ | {"TOKEN": self.token},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert loop.stdout is not None
        seen, text, deadline = [], "", time.monotonic() + 240
        try:
            while time.monotonic() < deadline:
                text += loop.stdout.read(1)
                try:
                    seen.append(json.loads(text))
                except ValueError:
                    continue
                text = ""
                if seen[-1]["status"] in {"succeeded", "failed", "stopped"}:
                    return seen
        finally:
            os.killpg(loop.pid, signal.SIGTERM)
            loop.wait(10)
        pytest.fail(f"the job was not over within 240 s: {seen[-1:]}")

    @cached_property
    def model_id(self) -> int:
        assert self.polled[-1]["status"] == "succeeded", self.polled[-1]
        return self.polled[-1]["model_id"]

    @cached_property
    def prediction(self) -> dict:
        script = self.with_battery(block("Step 9", "bash"))
        return json.loads(self.shell(script.replace('"model_id": 8', f'"model_id": {self.model_id}')))


@pytest.fixture(scope="module")
def walk(stack, tmp_path_factory, make_cell) -> Walkthrough:
    return Walkthrough(stack, tmp_path_factory.mktemp("tutorial"), make_cell("battery_cell_001.mat", 60))


class TestCurlSteps:
    def test_step_1_gives_a_bearer_token_for_an_hour(self, walk):
        assert walk.login["token_type"] == "bearer"
        assert walk.login["expires_in"] == 3600
        assert walk.login["access_token"].count(".") == 2

    def test_step_2_uploads_the_battery(self, walk):
        assert set(walk.battery) >= BATTERY_KEYS
        assert walk.battery["filename"] == "battery_cell_001.mat"
        assert walk.battery["total_cycles"] == 60
        assert walk.battery["nominal_capacity"] == 1.1
        assert walk.battery["manufacturer"] == "Severson"
        assert walk.battery["chemistry"] == "LFP"
        assert UTC.fullmatch(walk.battery["created_at"])
        assert UTC.fullmatch(walk.battery["updated_at"])

    def test_step_3_reads_the_battery_back(self, walk):
        read = json.loads(walk.shell(walk.with_battery(block("Step 3", "bash"))))
        stable = BATTERY_KEYS - {"updated_at"}
        assert {key: read[key] for key in stable} == {key: walk.battery[key] for key in stable}

    def test_step_4_shows_the_first_ten_cycles(self, walk):
        page = json.loads(walk.shell(walk.with_battery(block("Step 4", "bash"))))
        assert page["meta"] == {"page": 1, "page_size": 10, "total": 60, "total_pages": 6}
        assert [cycle["cycle_index"] for cycle in page["items"]] == list(range(1, 11))
        first = page["items"][0]
        assert set(first) >= {"id", "battery_id", "cycle_index", "voltage", "current", "temperature", "soh", "rul"}
        assert first["battery_id"] == walk.battery["id"]
        assert len(first["voltage"]) == len(first["current"]) == len(first["temperature"]) > 0

    def test_step_5_queues_the_training_job(self, walk):
        assert set(walk.job) >= JOB_KEYS
        assert walk.job["status"] == "queued"
        assert walk.job["algorithm"] == "bilstm"
        assert (walk.job["progress"], walk.job["current_epoch"], walk.job["total_epochs"]) == (0.0, 0, 100)
        assert (walk.job["started_at"], walk.job["finished_at"], walk.job["model_id"]) == (None, None, None)

    def test_step_6_polling_sees_progress_grow_until_it_succeeded(self, walk):
        last = walk.polled[-1]
        assert last["status"] == "succeeded", last
        assert last["progress"] == 1.0
        assert UTC.fullmatch(last["started_at"])
        assert UTC.fullmatch(last["finished_at"])
        assert isinstance(last["model_id"], int)
        progress = [job["progress"] for job in walk.polled]
        assert progress == sorted(progress)
        assert all(set(job) >= JOB_KEYS for job in walk.polled)

    def test_step_7_gives_the_loss_curves(self, walk):
        assert walk.polled
        metrics = json.loads(walk.shell(walk.with_job(block("Step 7", "bash"))))
        assert len(metrics["train_loss"]) == len(metrics["val_loss"]) == len(metrics["epochs"]) > 0
        assert metrics["epochs"] == sorted(set(metrics["epochs"]))
        assert metrics["train_loss"][-1] < metrics["train_loss"][0]

    def test_step_8_shows_the_model(self, walk):
        script = block("Step 8", "bash").replace("models/8", f"models/{walk.model_id}")
        model = json.loads(walk.shell(script))
        assert set(model) >= {"id", "algorithm", "name", "version", "metrics", "created_at", "file_size"}
        assert (model["id"], model["algorithm"], model["name"]) == (walk.model_id, "bilstm", "bilstm-tutorial-model")
        assert re.fullmatch(r"\d+\.\d+\.\d+", model["version"])
        assert set(model["metrics"]) >= {"train_loss", "val_loss", "test_accuracy"}
        assert 0 <= model["metrics"]["test_accuracy"] <= 1
        assert model["file_size"] > 0

    def test_step_9_predicts(self, walk):
        assert set(walk.prediction) >= {"id", "algorithm", "model_id", "result", "created_at"}
        assert (walk.prediction["algorithm"], walk.prediction["model_id"]) == ("bilstm", walk.model_id)
        result = walk.prediction["result"]
        assert 0 <= result["soh"] <= 1
        assert result["rul"] >= 0
        assert 0 <= result["confidence"] <= 1

    def test_step_10_predicts_for_several_batteries_in_order(self, walk, cell):
        assert walk.model_id
        script = walk.with_battery(block("Step 10", "bash")).replace('"battery_id": 126', f'"battery_id": {cell["id"]}')
        results = json.loads(walk.shell(script))["results"]
        assert len(results) == 2
        for answer in results:
            assert answer["algorithm"] == "bilstm"
            assert set(answer["result"]) >= {"soh", "rul", "confidence"}

    def test_troubleshooting_shows_the_logs(self, walk):
        assert walk.polled
        logs = json.loads(walk.shell(walk.with_job(block("Training Failed", "bash"))))["logs"]
        assert logs
        for line in logs:
            assert set(line) >= {"timestamp", "level", "message"}
            assert UTC.fullmatch(line["timestamp"])

    @pytest.mark.parametrize("number", [0, 1])
    def test_troubleshooting_errors_read_as_documented(self, number, stranger, api):
        heading = ("Authentication Failed", "File Upload Failed")[number]
        documented = json.loads(block(heading, "json"))["error"]
        if number == 0:
            answer = stranger.login("nobody@example.com", "wrong")
        else:
            answer = api("POST", "/batteries", files={"file": ("battery.mat", b"not a MATLAB file")})
        error = answer.json()["error"]
        assert error["code"] == documented["code"]
        assert error["message"].startswith(documented["message"])


class TestPythonExample:
    def test_runs_as_written_and_prints_soh_and_rul(self, walk):
        script = walk.put_in(block("Complete Python", "python"))
        script = script.replace('"password": "password"', f'"password": "{PASSWORD}"')
        done = subprocess.run(
            [sys.executable, "-u", "-c", script],
            cwd=walk.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^Uploaded battery ID: \d+$", done.stdout, re.MULTILINE)
        assert re.search(r"^Training job ID: \d+$", done.stdout, re.MULTILINE)
        assert "Progress: 100.0%" in done.stdout
        soh = re.search(r"^SoH: (\d\.\d\d)$", done.stdout, re.MULTILINE)
        rul = re.search(r"^RUL: (\d+\.\d) cycles$", done.stdout, re.MULTILINE)
        assert soh, done.stdout
        assert rul, done.stdout
        assert 0 <= float(soh[1]) <= 1


class DevTools:
    """The console of a page: what a reader who pastes the tutorial's code into it types and sees."""

    def __init__(self, page) -> None:
        self.page = page
        self.lines: list[str] = []
        self.sockets: list[str] = []
        self.problems: list[str] = []
        page.on("console", lambda message: self.lines.append(message.text))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.protocol = page.context.new_cdp_session(page)

    def type(self, code: str) -> None:
        """Run code as the console does, awaiting what it returns."""
        answer = self.protocol.send(
            "Runtime.evaluate", {"expression": code, "awaitPromise": True, "replMode": True, "userGesture": True}
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]

    def line(self, pattern: str, within: float) -> "re.Match[str]":
        """The first console line that matches."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for line in self.lines:
                if found := re.fullmatch(pattern, line):
                    return found
            self.page.wait_for_timeout(100)
        pytest.fail(f"no line {pattern!r} within {within:g} s: {self.lines[-10:]} {self.problems}")


@pytest.fixture
def console(stack):
    """The console of the page that the API serves, in a fresh Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian's package chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        try:
            page = browser.new_page()
            answer = page.goto(f"{stack.root}/")
            assert answer is not None
            assert answer.status == 200
            yield DevTools(page)
        finally:
            browser.close()


class TestJavaScriptExample:
    def test_runs_as_written_in_a_browser_and_prints_soh_and_rul(self, walk, console):
        script = walk.put_in(block("Complete JavaScript", "javascript"))
        script = script.replace("ws://localhost:8000", walk.stack.root.replace("http", "ws", 1))
        script = script.replace("password: 'password'", f"password: '{PASSWORD}'")
        console.page.set_input_files("#fileInput", walk.folder / "battery_cell_001.mat")
        console.type(script)
        console.type("runWorkflow()")
        assert console.line(r"Uploaded battery ID: (\d+)", within=30)
        soh = console.line(r"SoH: (\d(?:\.\d+)?)", within=240)
        assert 0 <= float(soh[1]) <= 1
        assert float(console.line(r"RUL: (\d+(?:\.\d+)?) cycles", within=10)[1]) >= 0
        followed = [address for address in console.sockets if "/training-jobs/" in address]
        assert len(followed) == 1
        assert "?" not in followed[0]
        assert not console.problems

    def test_option_b_follows_a_job_from_the_console(self, walk, console, eventually):
        assert walk.model_id
        console.type(
            f"fetch('/api/v1/auth/token', {{method: 'POST', body: new URLSearchParams("
            f"{{username: '{EMAIL}', password: '{PASSWORD}'}})}})"
        )
        eventually(console.page.context.cookies, within=10, what="the session cookie")  # kept a moment after the answer
        script = walk.with_job(block("Option B", "javascript"))
        console.type(script.replace("ws://localhost:8000", walk.stack.root.replace("http", "ws", 1)))
        console.line(r"Progress: 100%", within=20)
        console.line(r"Epoch: (\d+)/100", within=20)


class TestBatteriesPage:
    """The calls of the batteries page; its upload shows no token, so the account's is added."""

    def test_upload_example_runs_as_written_with_a_token_added(self, walk):
        shutil.copy(walk.folder / "battery_cell_001.mat", walk.folder / "battery_data.mat")
        script = """curl -X POST http://localhost:8000/api/v1/batteries \\
  -F "file=@battery_data.mat" \\
  -F "manufacturer=Severson" \\
  -F "chemistry=LFP" \\
  -F "nominal_capacity=1.1"
"""
        refused = json.loads(walk.shell(script))
        assert refused["error"]["code"] == "MISSING_TOKEN"
        made = json.loads(walk.shell(script.replace(" \\\n", ' -H "Authorization: Bearer $TOKEN" \\\n', 1)))
        assert made["filename"] == "battery_data.mat"
        assert set(made) >= BATTERY_KEYS

    def test_life_of_a_battery(self, api, make_cell, expect_error):
        made = api.upload(make_cell("life.mat", 5), manufacturer="A Lab", chemistry="LFP", nominal_capacity="1.1")
        path = f"/batteries/{made['id']}"
        page = api.get("/batteries", manufacturer="A Lab", page=1, page_size=20)
        assert [battery["id"] for battery in page["items"]] == [made["id"]]
        assert page["meta"] == {"page": 1, "page_size": 20, "total": 1, "total_pages": 1}

        changes = {"manufacturer": "Updated Manufacturer", "chemistry": "NMC", "nominal_capacity": 1.2}
        patched = api("PATCH", path, json=changes)
        assert patched.status_code == 200
        assert {key: patched.json()[key] for key in changes} == changes
        assert patched.json()["created_at"] == made["created_at"]
        assert patched.json()["updated_at"] > made["updated_at"]
        assert {key: api.get(path)[key] for key in changes} == changes

        third = api.get(f"{path}/cycles", cycle_index=3)
        assert [cycle["cycle_index"] for cycle in third["items"]] == [3]
        assert third["meta"]["total"] == 1
        # 1.1 Ah less two fades of 0.4 %, over the new nominal capacity of 1.2 Ah
        assert third["items"][0]["soh"] == pytest.approx(1.1 * (1 - 2 * 0.004) / 1.2, abs=0.01)

        deleted = api("DELETE", path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        expect_error(api("GET", path), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("GET", f"{path}/cycles"), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("DELETE", path), 404, "RESOURCE_NOT_FOUND")

    def test_a_missing_battery_is_named_in_the_message(self, api, expect_error):
        error = expect_error(api("GET", "/batteries/999999"), 404, "RESOURCE_NOT_FOUND")
        assert error["message"] == "Battery with ID 999999 not found"


def test_the_page_holds_the_contracts_code_to_the_letter():
    seed = CHECKOUT.parent / "shared" / "contract" / "seeds" / "tutorial.md"
    if not seed.is_file():
        pytest.skip("the contract's tutorial is not beside the checkout")
    assert len(code_blocks(seed)) > 20
    assert code_blocks(TUTORIAL) == code_blocks(seed)


def test_the_front_page_offers_the_file_input_of_the_example(stack):
    answer = requests.get(f"{stack.root}/", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.search(r'<input[^>]*id="fileInput"', answer.text)
