"""What the benchmarks share: processes on free ports in a home of their own, waiting, and tables."""

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launch import health
from store import session as store_session
from store.settings import get_settings

CHECKOUT = Path(__file__).resolve().parent.parent
ACCOUNT = ("benchmark@example.com", "a long enough pass phrase")
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nothing listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def environment(home: Path, **settings: object) -> dict[str, str]:
    """The environment of a stack in ``home``, with these settings over the defaults."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATTERY_")}
    ours = {"HOME": home, "ADMIN_EMAIL": ACCOUNT[0], "ADMIN_PASSWORD": ACCOUNT[1], **settings}
    return inherited | {f"BATTERY_{name.upper()}": str(value) for name, value in ours.items()}


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """An empty home, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="battery-benchmark-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def at(home: Path) -> Iterator[None]:
    """The platform's modules of this process, and the processes that it starts, work on ``home``."""
    os.environ |= {name: value for name, value in environment(home).items() if name.startswith("BATTERY_")}
    get_settings.cache_clear()
    yield
    store_session.reset()
    get_settings.cache_clear()


@contextlib.contextmanager
def running(command: Sequence[str], settings: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this checkout, ended by Ctrl-C, and killed with all its children when that takes over a minute."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=CHECKOUT, env=settings, stdout=output, stderr=output)
        try:
            yield process
        finally:
            family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                process.kill()
                process.wait()


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    with health.client() as http:
        return health.answers(http, url)


def seconds_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path, within: float) -> float:
    """Time until ``condition`` holds; the log's end as the error when the process ended or time is up."""
    began = time.perf_counter()
    while not condition():
        if process.poll() is not None or time.perf_counter() - began > within:
            sys.exit(f"not ready: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)
    return time.perf_counter() - began


@contextlib.contextmanager
def api_alone(home: Path, bootstrap: Sequence[str] = ("-m", "api")) -> Iterator[tuple[str, int, float]]:
    """The API without the other parts: its address, process id, and seconds from start to its first answer."""
    (port,) = free_ports(1)
    away = {"prefect_url": f"{NOWHERE}/api", "mlflow_url": NOWHERE, "serving_url": NOWHERE}
    log = home / "api.log"
    settings = environment(home, api_port=port, **away)
    with running([sys.executable, *bootstrap], settings, log) as process:
        root = f"http://127.0.0.1:{port}/api/v1"
        yield root, process.pid, seconds_until(partial(answers, f"{root}/health"), process, log, within=60)


def signed_in(root: str) -> requests.Session:
    """A session with the benchmark's account."""
    session = requests.Session()
    login = {"username": ACCOUNT[0], "password": ACCOUNT[1]}
    answer = session.post(f"{root}/auth/token", data=login, timeout=30)
    answer.raise_for_status()
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return session


def upload(session: requests.Session, root: str, path: Path, **form: object) -> dict[str, Any]:
    """The battery that an upload makes, with these fields of the form beside the file."""
    with path.open("rb") as file:
        answer = session.post(f"{root}/batteries", files={"file": file}, data=form, timeout=300)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def best_of(times: int, action: Callable[[], object]) -> float:
    """Shortest of several durations of ``action``, in seconds: the one that other work disturbed least."""
    durations = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        durations.append(time.perf_counter() - began)
    return min(durations)


def shared_data() -> Path | None:
    """Folder of real battery files, where there is one."""
    folder = Path(os.environ.get("BATTERY_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, and below it what machine it is of."""
    table = Table(title=title, caption=machine())
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else escape(str(value)) for value in row))
    Console(width=110).print(table)


def machine() -> str:
    """Cores, load and Python of this machine."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}"
