"""A stack that is killed in parts and as a whole, a client of it that remembers what it was told, and the table."""

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from batteries.samples import synthetic_cell, write_mat
from launch.supervision import Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: made by ./battery test --faults -->", "<!-- end of faults -->"
ACCOUNT = ("faults@example.com", "a long enough pass phrase")
HEALTHY_WITHIN_S = 240
UPLOAD_EVERY = 20  # calls; each calls for a new data version too
KINDS = ("training process", "worker", "Prefect server", "MLflow", "API", "whole stack")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a fault, the kinds in turn."""
    if "fault" in metafunc.fixturenames:
        count = metafunc.config.getoption("fault_count")
        kinds = [(number, KINDS[number % len(KINDS)]) for number in range(count)]
        metafunc.parametrize("fault", kinds, ids=[f"{number + 1}-{kind}" for number, kind in kinds])


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Of the random moments; printed, so that a run can be repeated."""
    given = pytestconfig.getoption("fault_seed")
    chosen: int = random.SystemRandom().randrange(2**32) if given is None else given
    terminal: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    terminal.write_line(f"--fault-seed {chosen}")
    return chosen


class Stack:
    """The embedded stack in a home of its own; started again after it was killed."""

    def __init__(self, home: Path, ports: list[int]) -> None:
        self.home, self.ports = home, ports
        names = ("API_PORT", "MLFLOW_PORT", "PREFECT_PORT", "SERVING_PORT")
        settings = dict(zip(names, map(str, ports), strict=True)) | {
            "HOME": str(home),
            "ADMIN_EMAIL": ACCOUNT[0],
            "ADMIN_PASSWORD": ACCOUNT[1],
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BATTERY_", "PYTEST_"))}
        self.environment = inherited | {f"BATTERY_{name}": value for name, value in settings.items()}
        api, mlflow, prefect, serving = (f"http://127.0.0.1:{port}" for port in ports)
        self.root, self.mlflow, self.prefect = f"{api}/api/v1", mlflow, f"{prefect}/api"
        self.health = (f"{self.root}/health", f"{mlflow}/health", f"{self.prefect}/health", f"{serving}/readyz")

    def start(self) -> None:
        """``battery up``, without waiting for it."""
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch", "up"],
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Everything of this home that lives."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                ours = process.environ().get("BATTERY_HOME") == str(self.home)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def training(self) -> list[psutil.Process]:
        """Processes that train a job: those of the engine that import the networks."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if "models.training" in process.cmdline() and "PREFECT__FLOW_RUN_ID" in process.environ():
                    found.append(process)
        return found

    def part(self, name: str) -> int:
        """Process of a part, 0 where it has none now."""
        return Supervisor(self.home / "var").states()[name].pid

    def works(self, since: float = 0) -> bool:
        """Every part answers, and a worker has reported to Prefect after ``since`` (seconds since 1970)."""
        assert self.process.poll() is None, self.tail()
        try:
            if not all(requests.get(url, timeout=3).ok for url in self.health):
                return False
            workers = requests.post(f"{self.prefect}/work_pools/battery/workers/filter", json={}, timeout=3).json()
        except (requests.RequestException, ValueError):
            return False
        heard = [datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in workers]
        return max(heard, default=0) > since and bool(self.part("worker"))

    def kill_all(self) -> None:
        """SIGKILL to every process, none of which can start another one in between."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in self.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        self.process.wait()
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def tail(self) -> str:
        """The end of the logs."""
        logs = [self.home / "up.log", self.home / "var" / "log" / "battery.log"]
        return "\n".join(log.read_text(errors="replace")[-6000:] for log in logs if log.exists())


@dataclass
class Told:
    """What a client was told is saved: ids."""

    batteries: set[int] = field(default_factory=set)
    models: set[int] = field(default_factory=set)
    predictions: set[int] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)


class Client:
    """A laboratory's program: goes on through faults, and remembers what it was told."""

    def __init__(self, stack: Stack, cell: Path) -> None:
        self.stack, self.cell, self.told = stack, cell, Told()
        self.http = requests.Session()

    def sign_in(self) -> None:
        login = {"username": ACCOUNT[0], "password": ACCOUNT[1]}
        answer = self.http.post(f"{self.stack.root}/auth/token", data=login, timeout=30)
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **query: Any) -> Any:
        """Body of a GET; asked again while the API is away."""
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                answer = self.http.get(f"{self.stack.root}{path}", params=query, timeout=30)
                if answer.status_code == 401:
                    self.sign_in()
                elif answer.status_code != 503:
                    assert answer.ok, f"{path}: {answer.status_code} {answer.text[:300]}"
                    return answer.json()
            assert time.monotonic() < deadline, f"GET {path}: no answer for 120 s"
            time.sleep(0.3)

    def upload(self) -> int | None:
        """Id of a new battery, None when nobody promised it."""
        with self.cell.open("rb") as file:
            answer = self.http.post(
                f"{self.stack.root}/batteries", files={"file": file}, data={"nominal_capacity": 1.1}, timeout=60
            )
        if answer.status_code != 201:
            return None
        self.told.batteries.add(answer.json()["id"])
        return answer.json()["id"]

    def submit(self, battery_ids: list[int], **hyperparams: Any) -> int:
        """Id of a new job. The API must be there."""
        body = {"algorithm": "baseline", "battery_ids": battery_ids, "hyperparams": hyperparams}
        answer = self.http.post(f"{self.stack.root}/training-jobs", json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        self.told.jobs.add(answer.json()["id"])
        return answer.json()["id"]

    def predict(self, battery_id: int) -> None:
        body = {"algorithm": "baseline", "battery_id": battery_id}
        answer = self.http.post(f"{self.stack.root}/predictions", json=body, timeout=30)
        if answer.ok:
            self.told.predictions.add(answer.json()["id"])

    @contextlib.contextmanager
    def at_work(self, battery_id: int) -> Iterator[None]:
        """Uploads and predictions go on beside a block."""
        over = threading.Event()

        def work() -> None:
            number = 0
            while not over.wait(1.0):
                number += 1
                with contextlib.suppress(requests.RequestException):
                    if number % UPLOAD_EVERY == 1:
                        self.upload()
                    else:
                        self.predict(battery_id)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def ids(self, path: str) -> set[int]:
        """Of everything on all pages."""
        found: set[int] = set()
        page = 1
        while items := self.get(path, page=page, page_size=100)["items"]:
            found |= {item["id"] for item in items}
            page += 1
        return found


@dataclass
class Outcome:
    """One fault and what came of it."""

    kind: str
    status: str  # of the job that trained meanwhile
    resumed: bool
    back_s: float  # until every part worked again
    over_s: float  # until the job was over
    lost: int


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]], eventually: Any):
    """A running stack of its own, killed whole at the end."""
    stack = Stack(tmp_path_factory.mktemp("home"), free_ports(4))
    stack.start()
    try:
        eventually(stack.works, HEALTHY_WITHIN_S, "every part at work")
        yield stack
    finally:
        stack.kill_all()


@pytest.fixture(scope="session")
def client(fault_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Signed in, with two batteries."""
    path = tmp_path_factory.mktemp("cell") / "cell.mat"
    write_mat(synthetic_cell(cycles=60, seed=1), path)
    made = Client(fault_stack, path)
    made.sign_in()
    assert made.upload()
    assert made.upload()
    return made


@pytest.fixture(scope="session")
def outcomes() -> list[Outcome]:
    """Of the faults so far; the page has their table after each."""
    return []


@pytest.fixture
def outcome() -> type[Outcome]:
    """What the table is made of."""
    return Outcome


@pytest.fixture
def report(outcomes: list[Outcome], seed: int) -> Callable[[Outcome], None]:
    """Add an outcome to the table of the page."""

    def add(outcome: Outcome) -> None:
        outcomes.append(outcome)
        text = PAGE.read_text()
        before, after = text[: text.index(BEGIN)], text[text.index(END) :]
        PAGE.write_text(f"{before}{BEGIN}\n{table(outcomes, seed)}\n{after}")

    return add


def table(outcomes: list[Outcome], seed: int) -> str:
    """What came of the faults, by kind."""
    columns = ("killed", "times", "jobs succeeded", "of jobs resumed", "jobs failed with a reason", "lost")
    columns += ("all works again after, s", "job over after, s")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for kind in (*KINDS, "all"):
        of_kind = [outcome for outcome in outcomes if kind in {outcome.kind, "all"}]
        if not of_kind:
            continue
        back, over = ([getattr(outcome, name) for outcome in of_kind] for name in ("back_s", "over_s"))
        cells = (
            kind,
            len(of_kind),
            sum(outcome.status == "succeeded" for outcome in of_kind),
            sum(outcome.resumed for outcome in of_kind),
            sum(outcome.status == "failed" for outcome in of_kind),
            sum(outcome.lost for outcome in of_kind),
            f"{statistics.median(back):.0f} (at most {max(back):.0f})",
            f"{statistics.median(over):.0f} (at most {max(over):.0f})",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    load = os.getloadavg()[2]
    return "\n".join(
        [*lines, "", f"Seed {seed}; {os.cpu_count()} cores, load of the last quarter of an hour {load:.1f}."]
    )
