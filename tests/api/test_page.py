"""The page at ``/`` and ``/docs`` in a real browser that reaches nothing but this API."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture
def served(make: Any, free_ports: Callable[[int], list[int]], eventually: Any) -> Iterator[tuple[Any, str]]:
    """A platform on a free port, and its address."""
    platform = make(enters=False)
    (port,) = free_ports(1)
    config = uvicorn.Config(platform.app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, 20, "the API is served", every=0.05)
        yield platform, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a fresh browser; what its console complains about fails the test."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page()
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        yield opened
        browser.close()
    assert complaints == []


class TestPage:
    def test_leads_from_a_file_to_a_prediction(self, served: tuple[Any, str], page: Page, mat_file: Path) -> None:
        platform, root = served
        page.goto(root)
        page.fill("input[name=username]", "user@example.com")
        page.fill("input[name=password]", "secretpassword")
        page.click("#signInForm button")
        expect(page.locator("#who")).to_have_text("user@example.com")
        expect(page.locator("#result")).to_be_hidden()

        page.set_input_files("#fileInput", str(mat_file))
        page.fill("input[name=nominal_capacity]", "1.1")
        page.click("#uploadForm button")
        expect(page.locator("#batteries option")).to_have_text(
            re.compile(r"#1 battery_cell_001\.mat · 12 cycles · 1\.1 Ah")
        )

        page.fill("input[name=epochs]", "2")
        page.click("#trainForm button")
        expect(page.locator("#state")).to_have_text("Job 1: queued, epoch 0/2")
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            losses = {"current_loss": loss, "train_loss": loss, "val_loss": 2 * loss}
            platform.event(1, "progress", current_epoch=epoch, progress=epoch / 2, **losses)
        platform.event(1, "log", message="Epoch 2/2")
        expect(page.locator("#state")).to_have_text("Job 1: running, epoch 2/2, loss 0.250")
        expect(page.locator("#log")).to_have_text("Epoch 2/2\n")
        assert page.locator("#trainLoss").get_attribute("points") == "0.00,15.00 100.00,29.00"
        platform.event(1, "complete", model_id=platform.add_model().id, final_metrics={})
        expect(page.locator("#state")).to_have_text("Job 1 succeeded: model 1")

        page.click("#predictForm button")
        expect(page.locator("#soh")).to_have_text("87.0 % (90 %: 84.0 % to 90.0 %)")
        expect(page.locator("#rul")).to_have_text("121 cycles (90 %: 80 to 160)")
        expect(page.locator("#confidence")).to_have_text("91.0 %")

    def test_chooses_the_newest_battery_of_those_that_are_there(
        self, served: tuple[Any, str], page: Page, mat_file: Path
    ) -> None:
        root = served[1]
        login = {"username": "user@example.com", "password": "secretpassword"}
        token = httpx.post(f"{root}/api/v1/auth/token", data=login).json()["access_token"]
        for _ in range(2):
            files = {"file": ("cell.mat", mat_file.read_bytes())}
            httpx.post(
                f"{root}/api/v1/batteries", files=files, headers={"Authorization": f"Bearer {token}"}, timeout=60
            )
        page.goto(root)
        page.fill("input[name=username]", "user@example.com")
        page.fill("input[name=password]", "secretpassword")
        page.click("#signInForm button")
        expect(page.locator("#batteries")).to_have_value("2")

    def test_gives_scripts_the_global_that_the_tutorial_uses(self, served: tuple[Any, str], page: Page) -> None:
        page.goto(served[1])
        assert page.evaluate("fileInput.files.length") == 0


class TestDocs:
    def test_show_every_operation_without_the_internet(self, served: tuple[Any, str], page: Page) -> None:
        page.goto(f"{served[1]}/docs")
        described = served[0].app.openapi()["paths"].values()
        expect(page.locator(".opblock")).to_have_count(sum(len(operations) for operations in described))
