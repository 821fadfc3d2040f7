"""``python -m api`` as it runs: what it imports, how large it stays, what it does with bodies and sockets."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import psutil
import pytest
import requests
from sqlalchemy import make_url
from sqlalchemy.orm import Session
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from batteries.recordings import Cycle, Recording
from batteries.samples import synthetic_cell, write_mat
from store.session import make_engine
from store.tables import Model

CHECKOUT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "lightning", "pytorch_lightning", "mlflow", "prefect", "dvc", "bentoml", "pandas", "scipy", "h5py"}
EMAIL, PASSWORD = "user@example.com", "secretpassword"
MIB = 2**20
TELLS_MODULES = """
import sys
from pathlib import Path
import api.__main__
status = api.__main__.main()
Path(sys.argv[1]).write_text("\\n".join(sys.modules))
sys.exit(status)
"""


@dataclass
class Running:
    """A running API: its address, its process, and where its log and its modules are told."""

    root: str
    home: Path
    process: "subprocess.Popen[bytes]"
    log: Path
    modules: Path
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


class Serving(BaseHTTPRequestHandler):
    """Answers every prediction alike."""

    def do_POST(self) -> None:
        asked = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"model_version": "1", "soh": 0.9, "rul": 100.0, "confidence": 0.8}
        body = orjson.dumps({"version": "1"} if self.path == "/champion" else [answer for _ in asked["items"]])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]], eventually: Any
) -> Iterator[Running]:
    """An API on a free port, signed in."""
    home = tmp_path_factory.mktemp("home")
    port, nothing = free_ports(2)
    neighbour = HTTPServer(("127.0.0.1", 0), Serving)
    threading.Thread(target=neighbour.serve_forever, daemon=True).start()
    settings = {
        "HOME": home,
        "API_PORT": port,
        "PREFECT_PORT": nothing,
        "MLFLOW_PORT": nothing,
        "SERVING_PORT": neighbour.server_port,
        "ADMIN_EMAIL": EMAIL,
        "ADMIN_PASSWORD": PASSWORD,
        "MAX_UPLOAD_BYTES": 20 * MIB,
    }
    environment = os.environ | {f"BATTERY_{name}": str(value) for name, value in settings.items()}
    log, modules = home / "api.log", home / "modules"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", TELLS_MODULES, str(modules)],
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    api = Running(f"http://127.0.0.1:{port}/api/v1", home, process, log, modules)

    def healthy() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{api.root}/health", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        eventually(healthy, 60, "the API answers", every=0.1)
        form = {"username": EMAIL, "password": PASSWORD}
        api.token = requests.post(f"{api.root}/auth/token", data=form, timeout=10).json()["access_token"]
        yield api
    finally:
        process.kill()
        process.wait()
        neighbour.shutdown()
        neighbour.server_close()


def register(home: Path) -> None:
    """A model as a training job leaves it, in the database of ``home``."""
    engine = make_engine(make_url(f"sqlite:///{home / 'var' / 'battery.db'}"))
    with Session(engine) as session, session.begin():
        session.add(
            Model(
                algorithm="bilstm",
                mlflow_version="1",
                mlflow_run_id="run",
                artifact_path="model.pth",
                name="bilstm",
                version="1.0.0",
                hyperparams={"window": 16},
                metrics={},
                sha256="0" * 64,
                file_size=1,
            )
        )
    engine.dispose()


class TestBodies:
    def test_large_upload_is_answered_413_while_it_is_still_being_sent(self, running: Running) -> None:
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.mat"\r\n\r\n'
            for _ in range(400):
                sent += MIB
                yield bytes(MIB)

        headers = running.headers | {"Content-Type": "multipart/form-data; boundary=b"}
        before = psutil.Process(running.process.pid).memory_info().rss
        answer = requests.post(f"{running.root}/batteries", data=body(), headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "FILE_TOO_LARGE")
        assert psutil.Process(running.process.pid).memory_info().rss - before < 20 * MIB

    def test_large_declared_upload_is_answered_413_by_requests_and_curl(self, running: Running, tmp_path: Path) -> None:
        file = tmp_path / "large.mat"
        with file.open("wb") as opened:
            opened.truncate(60 * MIB)
        with file.open("rb") as opened:
            answer = requests.post(
                f"{running.root}/batteries", files={"file": opened}, headers=running.headers, timeout=60
            )
        assert answer.status_code == 413
        command = [
            "curl",
            "-s",
            "-m",
            "60",
            "-o",
            "-",
            "-w",
            "%{http_code}",
            "-H",
            f"Authorization: Bearer {running.token}",
        ]
        done = subprocess.run(
            [*command, "-F", f"file=@{file}", f"{running.root}/batteries"], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith("413")


class TestSlowUploads:
    def test_one_that_stops_on_the_way_holds_up_no_other_and_leaves_nothing(
        self, running: Running, tmp_path: Path, eventually: Any
    ) -> None:
        write_mat(synthetic_cell(cycles=1000), file := tmp_path / "cell.mat")
        upload = requests.Request(
            "POST", f"{running.root}/batteries", files={"file": file.read_bytes()}, headers=running.headers
        ).prepare()
        head = f"POST {upload.path_url} HTTP/1.1\r\nHost: x\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in upload.headers.items())
        assert isinstance(upload.body, bytes)
        assert len(upload.body) > 2 * MIB

        def parsers() -> list[psutil.Process]:
            return [
                child for template in psutil.Process(running.process.pid).children() for child in template.children()
            ]

        address = urlsplit(running.root)
        with socket.create_connection((address.hostname, address.port)) as slow:
            slow.sendall(head.encode() + b"\r\n" + upload.body[: 2 * MIB])
            eventually(parsers, 30, "a parser that has begun")
            for _ in range(2):
                answer = requests.post(upload.url or "", data=upload.body, headers=dict(upload.headers), timeout=60)
                assert answer.status_code == 201, answer.text
            assert len(parsers()) == 1
        eventually(lambda: not parsers(), 30, "the end of the parser")
        eventually(lambda: not list((running.home / "data" / ".incoming").iterdir()), 30, "an empty folder")
        answer = requests.post(upload.url or "", data=upload.body, headers=dict(upload.headers), timeout=60)
        assert answer.status_code == 201


class TestSockets:
    @pytest.mark.parametrize(("job", "signed_in"), [(1, ""), (999, "?token=")])
    def test_refusal_is_seen_as_1008_on_a_real_connection(self, running: Running, job: int, signed_in: str) -> None:
        query = signed_in and signed_in + running.token
        url = f"{running.root.replace('http', 'ws')}/training-jobs/{job}/ws{query}"
        with connect(url) as socket, pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008

    def test_subprotocol_pair_is_answered_with_bearer_alone(self, running: Running) -> None:
        url = f"{running.root.replace('http', 'ws')}/training-jobs/999/ws"
        with connect(url, subprotocols=["Bearer", running.token]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "Bearer"


class TestFootprint:
    """The last tests of the module: the last one stops the API to hear what it had imported."""

    def test_large_pages_at_once_leave_it_as_small_as_it_was(self, running: Running, tmp_path: Path) -> None:
        file, samples = tmp_path / "long.mat", np.arange(4000.0)
        volts = np.concatenate([np.linspace(3.2, 3.6, 2000), np.linspace(3.4, 2.2, 2000)])
        amperes, celsius = np.repeat([1.0, -1.0], 2000), 25 + np.random.default_rng(0).random(4000)
        cycles = tuple(Cycle(number, samples, volts, amperes, celsius) for number in range(1, 101))
        write_mat(Recording(cycles=cycles, layout="generic", nominal_capacity_ah=1.1), file)
        with file.open("rb") as opened:
            answer = requests.post(
                f"{running.root}/batteries", files={"file": opened}, headers=running.headers, timeout=60
            )
        url = f"{running.root}/batteries/{answer.json()['id']}/cycles?page_size=100"
        before = psutil.Process(running.process.pid).memory_info().rss

        def page_bytes(_: int) -> int:
            return len(requests.get(url, headers=running.headers, timeout=60).content)

        with ThreadPoolExecutor(8) as clients:
            sizes = set(clients.map(page_bytes, range(16)))
        assert len(sizes) == 1
        assert sizes.pop() > 5 * MIB
        assert psutil.Process(running.process.pid).memory_info().rss - before < 20 * MIB

    def test_serves_the_whole_of_it_small_and_without_anything_heavy(self, running: Running, tmp_path: Path) -> None:
        file = tmp_path / "cell.mat"
        write_mat(synthetic_cell(cycles=100), file)
        with requests.Session() as session:
            session.headers.update(running.headers)
            with file.open("rb") as opened:
                uploaded = session.post(f"{running.root}/batteries", files={"file": opened}, timeout=60)
            battery_id = uploaded.json()["id"]
            for _ in range(5):
                page = session.get(f"{running.root}/batteries/{battery_id}/cycles?page_size=100", timeout=60)
                assert len(page.json()["items"]) == 100
            for query in ("cycles?format=arrow", "cycles?format=parquet", "cycles?format=csv", "summary", "file"):
                assert session.get(f"{running.root}/batteries/{battery_id}/{query}", timeout=60).status_code == 200
            job = {"algorithm": "bilstm", "battery_ids": [battery_id]}
            assert session.post(f"{running.root}/training-jobs", json=job, timeout=60).status_code == 201
            register(running.home)
            asked = {"algorithm": "bilstm", "battery_id": battery_id}
            predicted = session.post(f"{running.root}/predictions", json=asked, timeout=60)
            assert predicted.json()["result"]["soh"] == 0.9
        resident = psutil.Process(running.process.pid).memory_info().rss
        assert resident < 200_000_000, f"{resident / 1e6:.0f} MB"
        assert running.stop() == 0
        imported = {name.partition(".")[0] for name in running.modules.read_text().split()}
        assert not imported & HEAVY
        assert "api" in imported
        log = running.log.read_text()
        assert running.token not in log
        assert PASSWORD not in log
        assert "WEBSOCKET /api/v1/training-jobs/999/ws 1008" in log
