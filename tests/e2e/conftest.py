"""A client of the live API, cells uploaded once, and the jobs that several tests look at."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import scipy.io
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NOMINAL_AH = 1.1
TERMINAL = {"succeeded", "failed", "stopped"}


class Api:
    """The live API as one account sees it. Paths are below ``/api/v1``."""

    def __init__(self, root: str, token: str | None = None) -> None:
        self.root = root
        self.token = token
        self.session = requests.Session()
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.root}/api/v1{path}", timeout=120, **options)

    def get(self, path: str, **query: Any) -> Any:
        """Body of a GET that must succeed."""
        response = self("GET", path, params=query)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def login(self, username: str, password: str) -> requests.Response:
        """Answer to a login."""
        return self("POST", "/auth/token", data={"username": username, "password": password})

    def upload(self, path: Path, name: str | None = None, **form: Any) -> dict[str, Any]:
        """The battery that an upload makes."""
        with path.open("rb") as file:
            response = self("POST", "/batteries", files={"file": (name or path.name, file)}, data=form)
        assert response.status_code == 201, response.text[:500]
        return response.json()

    def train(self, algorithm: str, *battery_ids: int, **hyperparams: Any) -> int:
        """Id of a new job."""
        body = {"algorithm": algorithm, "battery_ids": list(battery_ids), "hyperparams": hyperparams}
        response = self("POST", "/training-jobs", json=body)
        assert response.status_code == 201, response.text[:500]
        return response.json()["id"]

    def job(self, job_id: int) -> dict[str, Any]:
        """A job as it is now."""
        return self.get(f"/training-jobs/{job_id}")

    def logs(self, job_id: int) -> list[dict[str, Any]]:
        """The first page of a job's log, as long as a page can be."""
        return self.get(f"/training-jobs/{job_id}/logs", page_size=100)["logs"]

    def finished(self, job_id: int, within: float = 180) -> dict[str, Any]:
        """The job once it is over."""
        deadline = time.monotonic() + within
        while (job := self.job(job_id))["status"] not in TERMINAL:
            if time.monotonic() > deadline:
                pytest.fail(f"job not over within {within:g} s: {job}\n{self.logs(job_id)}")
            time.sleep(0.3)
        return job

    def succeeded(self, job_id: int, within: float = 180) -> dict[str, Any]:
        """The job, which must have succeeded."""
        job = self.finished(job_id, within)
        assert job["status"] == "succeeded", f"{job}\n{self.logs(job_id)}"
        return job

    def socket(self, path: str, **options: Any) -> Any:
        """An open WebSocket; ``token=False`` opens it with no authentication at all."""
        if options.pop("token", True):
            options.setdefault("additional_headers", {"Authorization": f"Bearer {self.token}"})
        address = self.root.replace("http", "ws", 1) + "/api/v1" + path
        return connect(address, open_timeout=20, proxy=None, **options)

    def follow(self, job_id: int, within: float = 180) -> tuple[list[dict[str, Any]], int | None]:
        """Every message of a job's socket until the server closes it, and the close code."""
        with self.socket(f"/training-jobs/{job_id}/ws") as socket:
            return drain(socket, within)


def drain(socket: Any, within: float) -> tuple[list[dict[str, Any]], int | None]:
    """Messages until the server closes, and its close code."""
    messages = []
    deadline = time.monotonic() + within
    try:
        while True:
            messages.append(json.loads(socket.recv(timeout=max(0.0, deadline - time.monotonic()))))
    except TimeoutError:
        pytest.fail(f"the socket was not closed within {within:g} s: {messages[-2:]}")
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else None


def write_cell(path: Path, cycles: int, fade: float = 0.004) -> Path:
    """A cell in the generic layout: cycles of a charge and a discharge, whose SoH falls by ``fade`` each.

    The discharge is 1.1 A for ``3600 * soh`` seconds, so its capacity in Ah is 1.1 * soh by arithmetic alone.
    """
    records = []
    for index in range(1, cycles + 1):
        soh = 1.0 - fade * (index - 1)
        charge, discharge = np.linspace(0.0, 1.0, 60), np.linspace(0.0, 1.0, 60)
        resistance = 0.05 + 0.0004 * index
        volts_up = 3.2 + 0.35 * charge + 0.55 * resistance + 0.02 * np.sin(7 * charge)
        volts_down = 3.3 - 0.2 * discharge - 1.1 * resistance - 1.0 * discharge**12
        start = 7200.0 * soh + 600.0
        records.append(
            {
                "cycle": float(index),
                "time": np.concatenate([7200.0 * soh * charge, start + 3600.0 * soh * discharge]),
                "voltage": np.concatenate([volts_up, volts_down]),
                "current": np.concatenate([np.full(60, 0.55), np.full(60, -1.1)]),
                "temperature": np.concatenate([25.0 + 2.0 * charge, 27.0 + 4.0 * discharge]),
            }
        )
    names = list(records[0])
    table = np.zeros((1, cycles), dtype=[(name, object) for name in names])
    for position, record in enumerate(records):
        for name in names:
            table[name][0, position] = record[name]
    scipy.io.savemat(path, {"cycles": table}, do_compression=True)
    return path


@pytest.fixture(scope="session")
def make_cell(tmp_path_factory):
    """Writes small generic cells: ``make_cell("name.mat", cycles=60)``."""
    folder = tmp_path_factory.mktemp("cells")

    def make(name: str, cycles: int = 60, fade: float = 0.004) -> Path:
        return write_cell(folder / name, cycles, fade)

    return make


@pytest.fixture(scope="session")
def drained():
    """``drain``: all messages of an open socket until the server closes it, and the close code."""
    return drain


@pytest.fixture(scope="session")
def stranger(stack) -> Api:
    """The API as someone without a token sees it."""
    return Api(stack.root)


@pytest.fixture(scope="session")
def login(stack, stranger):
    """``login(email, password)``: the API as that account sees it."""

    def enter(email: str, password: str) -> Api:
        response = stranger.login(email, password)
        assert response.status_code == 200, response.text
        return Api(stack.root, response.json()["access_token"])

    return enter


@pytest.fixture(scope="session")
def account(stack) -> tuple[str, str]:
    """An account of its own, since logins are limited by account."""
    stack.add_user("lab@example.com", "a long enough pass phrase")
    return "lab@example.com", "a long enough pass phrase"


@pytest.fixture(scope="session")
def api(stack, login) -> Api:
    """The API as the administrator sees it."""
    return login(stack.email, stack.password)


@pytest.fixture(scope="session")
def cell(api, make_cell) -> dict[str, Any]:
    """One small battery, uploaded once; tests read it and do not change it."""
    return api.upload(make_cell("cell.mat", 60), manufacturer="Shared", chemistry="LFP", nominal_capacity=NOMINAL_AH)


@pytest.fixture(scope="session")
def trained(api, cell) -> dict[str, Any]:
    """One quick job that succeeded, with ``messages`` and ``close_code`` of a socket that followed it all."""
    job_id = api.train("baseline", cell["id"], epochs=3)
    messages, code = api.follow(job_id)
    return api.succeeded(job_id) | {"messages": messages, "close_code": code}


@pytest.fixture(scope="session")
def nasa_cells(api, nasa) -> dict[str, dict[str, Any]]:
    """B0005, B0006 and B0007, uploaded once."""
    return {name: api.upload(nasa(name)) for name in ("B0005", "B0006", "B0007")}


@pytest.fixture(scope="session")
def row(stack):
    """One row of the platform's database by table and id."""

    def read(table: str, identifier: int) -> dict[str, Any]:
        database = sqlite3.connect(f"file:{stack.home / 'var' / 'battery.db'}?mode=ro", uri=True)
        try:
            database.row_factory = sqlite3.Row
            statement = f"SELECT * FROM {table} WHERE id = ?"  # noqa: S608 - a test's own table name
            return dict(database.execute(statement, (identifier,)).fetchone())
        finally:
            database.close()

    return read


@pytest.fixture(scope="session")
def mlflow_run(stack, row):
    """The MLflow run of a job: ``info``, with ``metrics``, ``params`` and ``tags`` by key."""

    def read(job_id: int) -> dict[str, Any]:
        query = {"run_id": row("jobs", job_id)["mlflow_run_id"]}
        answer = requests.get(f"{stack.mlflow}/api/2.0/mlflow/runs/get", params=query, timeout=20)
        assert answer.status_code == 200, answer.text
        run = answer.json()["run"]
        data = {kind: {item["key"]: item["value"] for item in items} for kind, items in run["data"].items()}
        return run["info"] | {"metrics": {}, "params": {}, "tags": {}} | data

    return read


@pytest.fixture(scope="session")
def expect_error():
    """Checks one error envelope and its headers; gives the ``error`` object."""

    def check(response: requests.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
        assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
        assert response.headers["Content-Type"].split(";")[0] == "application/json"
        body = response.json()
        assert set(body) == {"error"}
        error = body["error"]
        assert error["code"] == code
        assert error["message"]
        assert error["trace_id"].startswith("req_")
        assert response.headers["X-Request-ID"] == error["trace_id"]
        if status == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        if field is not None:
            named = [detail["field"] for detail in error["details"]]
            assert field in named, named
            assert all(detail["issue"] for detail in error["details"])
        return error

    return check
