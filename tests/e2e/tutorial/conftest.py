"""One walk through the tutorial as it is written: only base URL, file, ids and credentials are put in."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
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
HEADING_OR_CODE = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


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

    email, password = EMAIL, PASSWORD
    battery_keys = BATTERY_KEYS
    block = staticmethod(block)

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


@pytest.fixture(scope="session")
def walk(stack, tmp_path_factory, make_cell) -> Walkthrough:
    """The walk, done as far as a test needs it."""
    return Walkthrough(stack, tmp_path_factory.mktemp("tutorial"), make_cell("battery_cell_001.mat", 60))


@pytest.fixture(scope="session")
def blocks_of() -> Callable[[Path], list[tuple[str, str, str]]]:
    """``code_blocks``: heading, language and text of every code block of a page."""
    return code_blocks
