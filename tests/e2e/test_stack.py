"""The stack as an operator sees it: commands, processes, addresses, memory."""

import dataclasses
from pathlib import Path

import psutil
import pytest
import requests

SILENT = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
}


@pytest.fixture
def api_process(stack) -> psutil.Process:
    """The process that listens on the API's port."""
    for pid in stack.processes():
        process = psutil.Process(pid)
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == stack.api_port for c in process.net_connections()):
            return process
    raise AssertionError("nobody of this home listens on the API's port")


class TestCommands:
    def test_status_shows_every_part_at_work(self, stack):
        shown = stack.run("status")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        for part in ("API", "Prefect", "MLflow", "BentoML", "Worker"):
            assert part.lower() in shown.stdout.lower()

    def test_a_second_up_says_that_it_is_running(self, stack):
        second = stack.run("up", timeout_s=60)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "already running" in second.stdout
        assert requests.get(f"{stack.root}/api/v1/health", timeout=10).ok

    def test_an_account_that_exists_is_not_made_again(self, stack):
        again = stack.run("users", "add", stack.email, "--password-stdin", stdin="another long pass phrase\n")
        assert again.returncode != 0
        assert len((again.stdout + again.stderr).strip().splitlines()) == 1
        assert "Traceback" not in again.stderr

    def test_a_busy_port_is_one_line_that_says_what_to_do(self, stack, tmp_path):
        environment = stack.environment | {"BATTERY_HOME": str(tmp_path)}
        other = dataclasses.replace(stack, home=tmp_path, environment=environment)
        refused = other.run("up", timeout_s=120)
        assert refused.returncode not in {0, 130}
        message = refused.stderr.strip()
        assert len(message.splitlines()) == 1, message
        assert "_PORT" in message
        assert not other.processes()

    def test_up_said_where_everything_is(self, stack):
        said = stack.output.read_text()
        for port in (stack.api_port, *(url.split(":")[2].split("/")[0] for url in (stack.mlflow, stack.prefect))):
            assert f":{port}" in said


class TestProcesses:
    def test_every_part_is_told_to_send_no_telemetry(self, stack):
        parts = [psutil.Process(pid).environ() for pid in stack.processes()]
        silenced = [known for known in parts if "BATTERY_STACK" in known]
        assert len(silenced) >= 5
        for known in silenced:
            assert {name: known.get(name) for name in SILENT} == SILENT

    def test_nothing_listens_beyond_loopback(self, stack):
        listening = [
            connection.laddr
            for pid in stack.processes()
            for connection in psutil.Process(pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 4
        assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}

    def test_the_api_is_small_and_holds_nothing_heavy(self, api_process, trained, cell, api):
        assert trained
        for _ in range(5):
            api.get(f"/batteries/{cell['id']}/cycles", page_size=100)
        assert api_process.memory_info().rss < 200_000_000
        mapped = {Path(region.path).name for region in api_process.memory_maps()}
        assert not [name for name in mapped if "torch" in name or "pandas" in name]

    def test_what_holds_secrets_is_for_its_owner_alone(self, stack):
        kept = [stack.home / "var" / "secret_key", stack.home / "var" / "battery.db"]
        assert kept[0].stat().st_mode & 0o077 == 0
        reachable = [path for path in (stack.home / "var", kept[1]) if path.stat().st_mode & 0o077 == 0]
        assert reachable, "neither var/ nor the database in it is closed to others"


class TestPages:
    def test_the_user_interfaces_of_mlflow_and_prefect_answer(self, stack):
        for url in (stack.mlflow, stack.prefect.removesuffix("/api")):
            page = requests.get(url, timeout=20)
            assert page.status_code == 200
            assert page.headers["Content-Type"].startswith("text/html")
