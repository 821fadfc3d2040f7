"""The tutorial's complete programs, in Python and in a browser."""

import re
import shutil
import subprocess
import sys
import time

import pytest

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


class TestPythonExample:
    def test_runs_as_written_and_prints_soh_and_rul(self, walk):
        script = walk.put_in(walk.block("Complete Python", "python"))
        script = script.replace('"password": "password"', f'"password": "{walk.password}"')
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
        script = walk.put_in(walk.block("Complete JavaScript", "javascript"))
        script = script.replace("ws://localhost:8000", walk.stack.root.replace("http", "ws", 1))
        script = script.replace("password: 'password'", f"password: '{walk.password}'")
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
            f"{{username: '{walk.email}', password: '{walk.password}'}})}})"
        )
        eventually(console.page.context.cookies, within=10, what="the session cookie")  # kept a moment after the answer
        script = walk.with_job(walk.block("Option B", "javascript"))
        console.type(script.replace("ws://localhost:8000", walk.stack.root.replace("http", "ws", 1)))
        console.line(r"Progress: 100%", within=20)
        console.line(r"Epoch: (\d+)/100", within=20)
