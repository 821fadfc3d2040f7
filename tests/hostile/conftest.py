"""One real API process for the whole folder, and what every hostile upload has to leave as it was."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

EMAIL, PASSWORD = "user@example.com", "a long enough pass phrase"
LARGEST_GROWTH = 20 * 2**20  # bytes of resident memory
TIMEOUT_S = 200


@dataclass
class Api:
    """A running API and what can be seen of it from outside."""

    root: str
    home: Path
    process: psutil.Process
    session: requests.Session

    def upload(self, content: bytes, filename: str = "battery.mat", **fields: str) -> requests.Response:
        """The answer to an upload."""
        return self.session.post(
            f"{self.root}/batteries", files={"file": (filename, content)}, data=fields, timeout=TIMEOUT_S
        )

    def kept(self) -> tuple[int, list[Path], list[int]]:
        """Number of batteries, files of the data set, and processes at work below the one parsers are forked from."""
        total = self.session.get(f"{self.root}/batteries", timeout=30).json()["meta"]["total"]
        files = [path for path in (self.home / "data").rglob("*") if path.is_file()]
        files += (self.home / "data" / ".incoming").glob("*")
        parsing = [parser.pid for template in self.process.children() for parser in template.children(recursive=True)]
        return total, sorted(files), parsing

    def resident(self) -> int:
        """Bytes of memory that the API's process holds."""
        return int(self.process.memory_info().rss)

    def log(self) -> str:
        """What the API printed."""
        return (self.home / "api.log").read_text(errors="replace")


@pytest.fixture(scope="session")
def api(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Any, servers: Any, eventually: Any, small_cell: Any
) -> Iterator[Api]:
    """An API whose neighbours are away; it has read one sound file, so that what that takes for good is taken."""
    home = tmp_path_factory.mktemp("hostile")
    port, nothing = free_ports(2)
    settings = {"HOME": home, "API_PORT": port, "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD}
    settings |= {f"{part}_PORT": nothing for part in ("PREFECT", "MLFLOW", "SERVING")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATTERY_")}
    checkout = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment = inherited | checkout | {f"BATTERY_{name}": str(value) for name, value in settings.items()}
    root = f"http://127.0.0.1:{port}/api/v1"
    with servers(["api"], home / "api.log", environment) as server, requests.Session() as session:

        def healthy() -> bool:
            assert server.poll() is None
            try:
                return requests.get(f"{root}/health", timeout=2).ok
            except requests.ConnectionError:
                return False

        eventually(healthy, 60, "the API answers")
        form = {"username": EMAIL, "password": PASSWORD}
        token = session.post(f"{root}/auth/token", data=form, timeout=30).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        running = Api(root, home, psutil.Process(server.pid), session)
        assert running.upload(small_cell(tmp_path_factory.mktemp("sound"))).status_code == 201
        yield running


@pytest.fixture
def hostile(api: Api) -> Callable[..., str]:
    """Upload what is refused with a clean 400 and leaves nothing; gives the reason that the answer names."""
    before, memory = api.kept(), api.resident()

    def refused(content: bytes, status: int = 400, code: str = "INVALID_FILE_FORMAT", **fields: str) -> str:
        answer = api.upload(content, **fields)
        assert answer.status_code == status, answer.text[:500]
        assert answer.headers["Content-Type"].split(";")[0] == "application/json"
        error = answer.json()["error"]
        assert (error["code"], set(error)) == (code, {"code", "message", "details", "trace_id"})
        assert api.kept() == before
        assert api.resident() - memory < LARGEST_GROWTH
        [detail] = error["details"]
        return str(detail["issue"])

    return refused


@pytest.fixture(scope="session")
def small_cell() -> Callable[[Path], bytes]:
    """Bytes of a sound level 5 file of three cycles."""
    from batteries.samples import synthetic_cell, write_mat

    def content(folder: Path) -> bytes:
        path = folder / "sound.mat"
        write_mat(synthetic_cell(cycles=3), path)
        return path.read_bytes()

    return content
