"""``kill -9`` of a running API and of its parsers while uploads go on: there are whole batteries or none.

Each round waits until uploads have got somewhere that can be seen from outside, kills, starts the API again (whose
sweep puts things right) and looks at everything. ``KILL_ROUNDS`` asks for more rounds than a test run has time for.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import requests
from sqlalchemy import func, make_url, select
from sqlalchemy.orm import Session

from store.descriptions import to_json
from store.session import make_engine
from store.tables import Battery, CycleRow

CHECKOUT = Path(__file__).resolve().parents[2]
EMAIL, PASSWORD = "user@example.com", "secretpassword"
ROUNDS = int(os.environ.get("KILL_ROUNDS", "6"))
FILES = {"raw": "mat", "cycles": "parquet", "batteries": "json"}


def names(folder: Path) -> set[str]:
    """Files in a folder, and in the folders in it."""
    return {path.name for path in folder.rglob("*")} if folder.is_dir() else set()


# What can be seen of an upload on its way, in the order in which it happens.
STAGES: dict[str, Callable[[Path, int], bool]] = {
    "arriving": lambda data, _: "upload.mat" in names(data / ".incoming"),
    "parsed": lambda data, _: "cycles.parquet" in names(data / ".incoming"),
    "described": lambda data, _: "battery.json" in names(data / ".incoming"),
    "first file in place": lambda data, before: len(names(data / "raw")) > before,
    "all files in place": lambda data, before: len(names(data / "batteries")) > before,
    "some time later": lambda _, __: True,
}


class Api:
    """An API on a home and port that outlive it."""

    def __init__(self, home: Path, port: int, eventually: Any) -> None:
        self.home, self.port, self.eventually = home, port, eventually
        self.root = f"http://127.0.0.1:{port}/api/v1"
        self.data = home / "data"

    def start(self) -> None:
        away = "http://127.0.0.1:9"
        settings = {"HOME": self.home, "API_PORT": self.port, "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD}
        settings |= {"PREFECT_URL": f"{away}/api", "MLFLOW_URL": away, "SERVING_URL": away}
        environment = os.environ | {f"BATTERY_{name}": str(value) for name, value in settings.items()}
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api"], cwd=CHECKOUT, env=environment, stdout=log, stderr=log
            )
        self.eventually(self.answers, 60, "the API answers", every=0.05)
        form = {"username": EMAIL, "password": PASSWORD}
        token = requests.post(f"{self.root}/auth/token", data=form, timeout=30).json()["access_token"]
        self.headers = {"Authorization": f"Bearer {token}"}

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.home / "api.log").read_text()[-3000:]
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.root}/health", timeout=5).ok
        return False

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        family = self.family()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        _, left = psutil.wait_procs(family, timeout=20)
        assert not left, "processes outlive the API that started them"

    def upload(self, path: Path) -> requests.Response:
        with path.open("rb") as file:
            return requests.post(f"{self.root}/batteries", files={"file": file}, headers=self.headers, timeout=60)


class Uploads:
    """Clients that upload one file after the other until the API is gone."""

    def __init__(self, api: Api, path: Path, clients: int = 3) -> None:
        self.answered: list[int] = []
        self._api, self._path, self._over = api, path, False
        self._threads = [threading.Thread(target=self._go_on) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _go_on(self) -> None:
        with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            while not self._over:
                answer = self._api.upload(self._path)
                if answer.status_code == 201:
                    self.answered.append(answer.json()["id"])

    def end(self) -> list[int]:
        self._over = True
        for thread in self._threads:
            thread.join()
        return self.answered


def check(api: Api) -> list[int]:
    """Every battery is whole, and there is nothing else; the batteries' ids."""
    engine = make_engine(make_url(f"sqlite:///{api.home / 'var' / 'battery.db'}"))
    with Session(engine) as session:
        batteries = list(session.scalars(select(Battery).order_by(Battery.id)))
        query = select(CycleRow.battery_id, func.count()).group_by(CycleRow.battery_id)
        counts = dict(session.execute(query).tuples().all())
    engine.dispose()
    assert not names(api.data / ".incoming")
    for folder, suffix in FILES.items():
        assert names(api.data / folder) == {f"{battery.id}.{suffix}" for battery in batteries}
    assert counts == {battery.id: battery.total_cycles for battery in batteries}
    for battery in batteries:
        raw = (api.data / "raw" / f"{battery.id}.mat").read_bytes()
        assert hashlib.sha256(raw).hexdigest() == battery.sha256
        assert pq.read_table(api.data / "cycles" / f"{battery.id}.parquet").num_rows == battery.total_cycles
        assert (api.data / "batteries" / f"{battery.id}.json").read_bytes() == to_json(battery)
    for battery in batteries[-3:]:
        page = requests.get(f"{api.root}/batteries/{battery.id}/cycles", headers=api.headers, timeout=30)
        assert (page.status_code, page.json()["meta"]["total"]) == (200, battery.total_cycles)
    return [battery.id for battery in batteries]


@pytest.fixture
def api(tmp_path: Path, free_ports: Any, eventually: Any) -> Any:
    """A running API that is killed at the end."""
    built = Api(tmp_path, free_ports(1)[0], eventually)
    built.start()
    yield built
    if built.process.poll() is None:
        built.kill()


class TestKilled:
    def test_an_api_leaves_whole_batteries_or_none(self, api: Api, mat_file: Path, eventually: Any) -> None:
        chance, kept = np.random.default_rng(7), set[int]()
        for number in range(ROUNDS):
            stage = list(STAGES)[number % len(STAGES)]
            before = len(names(api.data / "raw"))
            uploads = Uploads(api, mat_file)
            reached = STAGES[stage]
            eventually(lambda: reached(api.data, before), 60, stage, every=0.001)  # noqa: B023 - called at once
            threading.Event().wait(chance.uniform(0, 0.3) if stage == "some time later" else chance.uniform(0, 0.02))
            api.kill()
            answered = uploads.end()
            api.start()
            kept |= set(answered)
            assert kept <= set(check(api)), f"round {number}: an upload that was answered is gone"

    def test_a_parser_leaves_nothing_and_the_api_goes_on(self, api: Api, mat_file: Path, eventually: Any) -> None:
        assert api.upload(mat_file).status_code == 201
        uploads, killed = Uploads(api, mat_file, clients=2), 0
        while killed < 4:
            with suppress(psutil.NoSuchProcess):
                template, *parsers = eventually(api.family, 30, "a template of parsers", every=0.001)
                for process in parsers or [template] * (killed == 3):
                    process.kill()
                    killed += 1
        uploads.end()
        assert api.process.poll() is None
        assert check(api)
        assert api.upload(mat_file).status_code == 201
