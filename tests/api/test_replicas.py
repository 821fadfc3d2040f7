"""Two API processes on one PostgreSQL: a job's clients may be anywhere."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from store import jobs, session
from store.settings import get_settings

CHECKOUT = Path(__file__).resolve().parents[2]
EMAIL, PASSWORD = "user@example.com", "secretpassword"


@pytest.fixture
def replicas(tmp_path, postgres, free_ports, eventually, monkeypatch):
    """Base addresses of two replicas; this process writes to their database as a flow does."""
    *ports, nothing = free_ports(3)
    settings = {
        "HOME": tmp_path,
        "DATABASE_URL": postgres.new_database(),
        "PREFECT_PORT": nothing,
        "MLFLOW_PORT": nothing,
        "SERVING_PORT": nothing,
        "ADMIN_EMAIL": EMAIL,
        "ADMIN_PASSWORD": PASSWORD,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"BATTERY_{name}", str(value))
    get_settings.cache_clear()
    session.reset()
    logs = [tmp_path / f"api-{port}.log" for port in ports]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "api"],
            cwd=CHECKOUT,
            env=os.environ | {"BATTERY_API_PORT": str(port)},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        for port, log in zip(ports, logs, strict=True)
    ]
    roots = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
    try:
        for root in roots:
            eventually(lambda root=root: answers(root), 90, "a replica answers")
        yield roots
    finally:
        for process in processes:
            process.terminate()
            process.wait(20)
        sys.stderr.writelines(log.read_text()[-3000:] for log in logs)  # shown when a test fails
        session.reset()
        get_settings.cache_clear()


def answers(root: str) -> bool:
    try:
        return requests.get(f"{root}/health", timeout=2).ok
    except requests.RequestException:
        return False


def heard(socket) -> list[dict]:
    """Every message until the server closes."""
    messages: list[dict] = []
    while not messages or messages[-1]["type"] not in {"complete", "error"}:
        messages.append(json.loads(socket.recv(timeout=20)))
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    return messages


class TestTwoReplicas:
    def test_serve_one_job_to_different_clients_and_stop_it_once(self, replicas):
        login = {"username": EMAIL, "password": PASSWORD}
        token = requests.post(f"{replicas[0]}/auth/token", data=login, timeout=20).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        with session.transaction() as rows:
            job_id = jobs.create(rows, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=9).id

        def socket(replica: int, after: int | None = None):
            path = f"/training-jobs/{job_id}/ws" + ("" if after is None else f"?after={after}")
            return connect(replicas[replica].replace("http", "ws", 1) + path, additional_headers=headers, proxy=None)

        def tell(epoch: int) -> None:
            with session.transaction() as rows:
                known = {"current_epoch": epoch, "progress": epoch / 9, "current_loss": 1 / epoch}
                jobs.append_event(rows, job_id, "progress", known)

        with socket(0) as stays, socket(1) as moves:
            for client in (stays, moves):
                assert json.loads(client.recv(timeout=20))["status"] == "queued"
            for epoch in range(1, 4):
                tell(epoch)
            moved = [json.loads(moves.recv(timeout=20))["seq"] for _ in range(3)]
            moves.close()
            for epoch in range(4, 7):
                tell(epoch)
            with socket(0, after=moved[-1]) as moved_client:
                with ThreadPoolExecutor(6) as pool:
                    stops = pool.map(
                        lambda number: (
                            requests.post(
                                f"{replicas[number % 2]}/training-jobs/{job_id}/stop", headers=headers, timeout=20
                            ).status_code
                        ),
                        range(6),
                    )
                    assert sorted(stops) == [200] + [409] * 5
                moved += [message["seq"] for message in heard(moved_client)[1:]]
            stayed = heard(stays)
        assert moved == [message["seq"] for message in stayed] == list(range(1, 8))
        assert (stayed[-1]["type"], stayed[-1]["status"]) == ("error", "stopped")
