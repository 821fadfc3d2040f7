"""What tests of several packages share: options, real data, ports, waiting; what must be started is in fixtures/."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import Eventually, wait_for

pytest_plugins = ("servers", "postgresql", "running_stack")  # of tests/fixtures
CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--faults``: the tests that kill parts of the stack, and nothing else; without it they are left out."""
    group = parser.getgroup("faults", "tests that kill parts of a running stack")
    group.addoption("--faults", action="store_true", help="run them, and nothing else")
    group.addoption("--fault-count", type=int, default=50, help="how many faults")
    parser.addoption(
        "--postgresql", action="store_true", help="keep rows on a real PostgreSQL where SQLite is the default"
    )
    group.addoption("--fault-seed", type=int, default=None, help="repeat the random moments of an earlier run")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Either the faults or everything else."""
    if collection_path.parent != CHECKOUT / "tests" or not collection_path.is_dir():
        return None
    return (collection_path.name == "faults") != config.getoption("faults") or None


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Polling with a deadline."""
    return wait_for


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real battery files: ``$BATTERY_SHARED_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("BATTERY_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real battery data at {folder}; set BATTERY_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def nasa(shared_data: Path) -> Callable[[str], Path]:
    """Path of a NASA cell by name: ``nasa("B0005")``."""

    def path(cell: str) -> Path:
        file = shared_data / "nasa" / f"{cell}.mat"
        if not file.is_file():
            pytest.skip(f"{file.name} is not in {file.parent}")
        return file

    return path


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Different ports of loopback that nothing listens on now."""

    def take(count: int) -> list[int]:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        return ports

    return take
