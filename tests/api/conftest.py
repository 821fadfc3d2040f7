"""The API on a real SQLite database and real files; Prefect, BentoML and MLflow are small hand-written HTTP fakes."""

import asyncio
import base64
import json
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from api.app import create_app
from batteries.samples import synthetic_cell, write_mat
from store import jobs, migrations, models, session
from store.settings import Settings, get_settings
from store.tables import Job, Model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

EMAIL = "user@example.com"
PASSWORD = "secretpassword"
EFFECT = {"feature": "cv_duration_h", "value": 0.5, "typical": 0.4, "soh": -0.01, "rul": -12.0}
CYCLE = {"voltage": [3.5, 3.6, 3.7, 3.8], "current": [1.0, 1.0, 1.0, 1.0], "temperature": [25.0, 25.5, 26.0, 26.5]}
WEIGHTS = bytes(range(256)) * 40


@dataclass
class FakePrefect:
    """Deployments by name, runs by idempotency key; can be away."""

    away: bool = False
    busy: int = 0  # calls that are answered 503 before one is served
    refused: dict[str, Any] | None = None  # parameters that are answered 422
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # id → run
    states_set: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("away", request=request)
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, json={})
        path = request.url.path.removeprefix("/api")
        if path.startswith("/deployments/name/"):
            name = path.removeprefix("/deployments/name/")
            return httpx.Response(200, json={"id": name.replace("/", "~")})
        if path.endswith("/create_flow_run"):
            body = json.loads(request.content)
            return self.start(path.split("/")[2].replace("~", "/"), body)
        run_id = path.split("/")[2]
        if path.endswith("/set_state"):
            wanted = json.loads(request.content)["state"]["type"]
            self.states_set.append((run_id, wanted))
            return httpx.Response(201, json={"status": "ACCEPT"})
        return httpx.Response(200, json=self.runs[run_id]) if run_id in self.runs else httpx.Response(404, json={})

    def start(self, deployment: str, body: dict[str, Any]) -> httpx.Response:
        if body["parameters"] == self.refused:
            return httpx.Response(422, json={})
        known = [run for run in self.runs.values() if run["idempotency_key"] == body["idempotency_key"]]
        if known:
            return httpx.Response(200, json=known[0])
        run = {"id": str(uuid.uuid4()), "deployment": deployment, **body}
        self.runs[run["id"]] = run | {"state": {"type": "SCHEDULED"}}
        return httpx.Response(201, json=run)

    def of(self, deployment: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["deployment"] == deployment]


def unpacked(item: dict[str, Any]) -> list[list[float]]:
    """The features that an item shows, a list a cycle."""
    flat = np.frombuffer(base64.b64decode(item["x"]), dtype="<f4")
    return [list(map(float, row)) for row in flat.reshape(len(item["cycle_index"]), -1)]


@dataclass
class FakeServing:
    """Answers each item from its algorithm and version; remembers what it was asked."""

    away: bool = False
    champion: str = "1"
    busy_with: tuple[str, ...] = ()  # versions
    hangs: bool = False
    calls: list[list[dict[str, Any]]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("away", request=request)
        if self.hangs:
            return asyncio.sleep(3600)  # type: ignore[return-value] # the transport awaits it
        body = json.loads(request.content)
        if request.url.path == "/champion":
            return httpx.Response(200, json={"version": self.champion})
        if request.url.path == "/uses":
            return httpx.Response(200, json=body["version"] in self.busy_with)
        items = [item | {"x": unpacked(item)} for item in body["items"]]
        self.calls.append(items)
        return httpx.Response(200, json=[self.answer(item) for item in items])

    def answer(self, item: dict[str, Any]) -> dict[str, Any]:
        return {
            "model_version": item["model_version"] or self.champion,
            "soh": 0.87,
            "rul": 120.5,
            "confidence": 0.91,
            "soh_interval": [0.84, 0.9],
            "rul_interval": [80.0, 160.0],
            "calibration": {"kind": "time"},
            "warnings": [f"{len(item['x'])} cycles"],
            "end_of_life": 0.8,
        } | ({"explanation": [EFFECT]} if item.get("explain") else {})


@dataclass
class FakeMlflow:
    """One artifact."""

    away: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("away", request=request)
        if request.url.path == "/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts/model.pth":
            return httpx.Response(200, content=WEIGHTS)
        return httpx.Response(404, json={})


@dataclass
class Platform:
    """A running API with its neighbours."""

    app: FastAPI
    http: TestClient
    settings: Settings
    prefect: FakePrefect
    serving: FakeServing
    mlflow: FakeMlflow
    cycle: Mapping[str, list[float]] = field(default_factory=lambda: CYCLE)  # the tutorial's samples

    def token(self) -> str:
        answer = self.http.post("/api/v1/auth/token", data={"username": EMAIL, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def sign_in(self) -> "Platform":
        self.http.headers["Authorization"] = f"Bearer {self.token()}"
        self.http.cookies.clear()
        return self

    def upload(self, path: Path, **fields: Any) -> dict[str, Any]:
        with path.open("rb") as file:
            answer = self.http.post("/api/v1/batteries", files={"file": (path.name, file)}, data=fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def received(self) -> list[Path]:
        """Every file below data/ and var/ that an upload could have left."""
        endings = {".mat", ".parquet", ".upload"}
        return [path for path in self.settings.home.rglob("*") if path.is_file() and path.suffix in endings]

    def ask(self, **body: Any) -> httpx.Response:
        """The answer to a prediction."""
        return self.http.post("/api/v1/predictions", json={"algorithm": "bilstm"} | body)

    def add_job(self, battery_ids: list[int], algorithm: str = "bilstm", epochs: int = 100) -> Job:
        with session.transaction() as opened:
            return jobs.create(
                opened,
                algorithm=algorithm,
                battery_ids=battery_ids,
                hyperparams={"epochs": epochs, "window": 16},
                total_epochs=epochs,
            )

    def event(self, job_id: int, type_: Any, **payload: Any) -> int:
        with session.transaction() as opened:
            return jobs.append_event(opened, job_id, type_, payload)

    def add_model(self, algorithm: str = "bilstm", mlflow_version: str = "1", name: str | None = None) -> Model:
        job = self.add_job([1], algorithm)
        with session.transaction() as opened:
            row = opened.get_one(Job, job.id)
            row.model_name = name
            model = models.register(
                opened,
                row,
                mlflow_version=mlflow_version,
                mlflow_run_id=f"run-{mlflow_version}",
                artifact_path="1/models/m-1/artifacts/model.pth",
                metrics={"train_loss": 0.15, "val_loss": 0.24, "test_accuracy": 0.92},
                sha256="0" * 64,
                file_size=len(WEIGHTS),
                data_version="abc.dir",
            )
        self.event(job.id, "complete", model_id=model.id, final_metrics={"train_loss": 0.15, "val_loss": 0.24})
        return model


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows, made by the migrations once; tests take copies."""
    home = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BATTERY_HOME", str(home))
        get_settings.cache_clear()
        session.reset()
        migrations.upgrade()
        session.reset()
    get_settings.cache_clear()
    return home / "var" / "battery.db"


@pytest.fixture
def make(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Path,
    default_database: Callable[[], str | None],
) -> Iterator[Any]:
    """Builds a platform with the settings given; all are closed at the end."""
    opened: list[TestClient] = []
    url = default_database()

    def build(*, enters: bool = True, **environment: str) -> Platform:
        values = {
            "home": str(tmp_path),
            "admin_email": EMAIL,
            "admin_password": PASSWORD,
            "login_limit": "",
            **({"database_url": url} if url else {}),
        } | environment
        for name, value in values.items():
            monkeypatch.setenv(f"BATTERY_{name.upper()}", value)
        get_settings.cache_clear()
        session.reset()
        settings = get_settings()
        settings.var.mkdir(exist_ok=True)
        if url:
            migrations.upgrade()
        elif not (database := settings.var / "battery.db").exists():
            shutil.copyfile(empty_database, database)
        prefect, serving, mlflow = FakePrefect(), FakeServing(), FakeMlflow()
        fakes: dict[str, Any] = {settings.prefect: prefect, settings.serving: serving, settings.mlflow: mlflow}

        def client(base: str, timeout_s: float) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=base, timeout=timeout_s, transport=httpx.MockTransport(fakes[base]))

        app = create_app(settings, client)
        http = TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False)
        if enters:
            http.__enter__()
            opened.append(http)
        return Platform(app, http, settings, prefect, serving, mlflow)

    yield build
    for http in opened:
        http.__exit__(None, None, None)
    session.reset()
    get_settings.cache_clear()


@pytest.fixture
def platform(make: Any) -> Platform:
    """A platform with the default settings, signed in."""
    built: Platform = make()
    return built.sign_in()


@pytest.fixture
def anonymous(make: Any) -> Platform:
    """The same, not signed in."""
    built: Platform = make()
    return built


@pytest.fixture(scope="session")
def mat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cell of 12 cycles as a MATLAB file."""
    path = tmp_path_factory.mktemp("mat") / "battery_cell_001.mat"
    write_mat(synthetic_cell(cycles=12, nominal_capacity_ah=1.1, seed=3), path)
    return path
