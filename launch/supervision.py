"""The parts under supervisord: its configuration, starting it, asking it, stopping it."""

import ctypes
import hashlib
import http.client
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from launch.failures import StartFailed
from launch.parts import Part, python
from store.settings import CHECKOUT, Settings

LONGEST_SOCKET_PATH = 100  # the system's limit is 108 bytes
PR_SET_PDEATHSIG = 1
ANSWERS_WITHIN_S = 15
FAILED = {"BACKOFF", "EXITED", "FATAL"}

CONFIGURATION = """\
; Written at every start; what can be set is in the README's table.
[supervisord]
nodaemon = true
silent = true
identifier = battery
directory = {directory}
logfile = {var}/log/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 2
pidfile = {var}/supervisord.pid
childlogdir = {var}/log
strip_ansi = true

[unix_http_server]
file = {socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:log]
command = {log_writer}
events = PROCESS_LOG,PROCESS_STATE
buffer_size = 100000
stderr_logfile = {log_writer_errors}
stdout_logfile = NONE
autorestart = true
"""

PROGRAM = """
[program:{name}]
command = {command}
priority = {order}
autostart = false
autorestart = true
startsecs = 10
startretries = 1000000
stopasgroup = true
killasgroup = true
stopwaitsecs = {stop_s}
redirect_stderr = true
stdout_logfile = NONE
stdout_events_enabled = true
"""


@dataclass(frozen=True)
class State:
    """What supervisord knows of a part."""

    name: str
    state: str  # supervisor's: STARTING, RUNNING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL
    pid: int  # 0: no process
    started: float  # seconds since 1970

    @property
    def failed(self) -> bool:
        """Ended without having been told to."""
        return self.state in FAILED


def quoted(command: Sequence[str]) -> str:
    """A command line as supervisor's configuration reads it, where ``%`` starts an expansion."""
    return shlex.join(command).replace("%", "%%")


def log_file(var: Path) -> Path:
    """The one log of all parts."""
    return var / "log" / "battery.log"


def configuration(settings: Settings, parts: Sequence[Part]) -> str:
    """Text of supervisord's configuration file."""
    log_writer = python("-m", "launch.log_writer", str(log_file(settings.var)))
    text = CONFIGURATION.format(
        directory=str(CHECKOUT).replace("%", "%%"),
        var=str(settings.var).replace("%", "%%"),
        socket=str(socket_path(settings.var)).replace("%", "%%"),
        log_writer=quoted(log_writer),
        log_writer_errors=str(settings.var / "log" / "log_writer.log").replace("%", "%%%%"),  # it is expanded twice
    )
    programs = (
        PROGRAM.format(name=part.name, command=quoted(part.command), order=part.order, stop_s=part.stop_s)
        for part in parts
    )
    return text + "".join(programs)


def socket_path(var: Path) -> Path:
    """Where supervisord listens: in ``var/``, or in the system's temporary folder where that path is too long."""
    path = var / "supervisor.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    folder = hashlib.sha256(os.fsencode(var)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"battery-{os.getuid()}-{folder}" / "supervisor.sock"


def make_private(folder: Path) -> None:
    """A folder for this user alone. Raises PermissionError when it is another's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    folder.chmod(0o700)


def end_with_parent() -> None:
    """Have the system send SIGTERM to this process when its parent ends, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """A connection to the supervisord of one home."""

    def __init__(self, var: Path) -> None:
        self.transport = SupervisorTransport(None, None, f"unix://{socket_path(var)}")
        self.remote: Any = ServerProxy("http://127.0.0.1", self.transport).supervisor  # the address is the transport's

    def ask(self, method: str, *arguments: str | bool) -> Any:
        """Answer to one XML-RPC call, on a connection of its own. Raises OSError when supervisord is gone."""
        try:
            return getattr(self.remote, method)(*arguments)
        except (http.client.HTTPException, Error) as error:
            raise ConnectionError(f"supervisord: {method}: {error}") from error
        finally:
            self.transport.close()

    def answers(self) -> bool:
        """Whether supervisord is there."""
        try:
            return bool(self.ask("getState")["statename"] == "RUNNING")
        except OSError:
            return False

    def start(self, part: str) -> None:
        """Start a part, without waiting for it."""
        self.ask("startProcess", part, False)  # noqa: FBT003 - XML-RPC knows positions only

    def states(self) -> dict[str, State]:
        """Every part, by name. Raises OSError when supervisord is gone."""
        return {
            row["name"]: State(row["name"], row["statename"], row["pid"], row["start"])
            for row in self.ask("getAllProcessInfo")
        }


def start_supervisor(
    settings: Settings, parts: Sequence[Part], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start supervisord with no part running yet, and wait until it can be asked. Raises StartFailed."""
    var = settings.var
    for folder in (var, var / "log", socket_path(var).parent):
        make_private(folder)
    socket_path(var).unlink(missing_ok=True)
    configured = var / "supervisord.conf"
    configured.write_text(configuration(settings, parts))
    with (var / "log" / "supervisord.err").open("wb") as complaints:
        process = subprocess.Popen(
            python("-m", "supervisor.supervisord", "-c", str(configured)),
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the parts in order
            preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads run yet
        )
    try:
        await_answer(process, var)
    except BaseException:
        process.kill()
        raise
    return process


def await_answer(process: "subprocess.Popen[bytes]", var: Path) -> None:
    """Return when supervisord can be asked. Raises StartFailed."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while not Supervisor(var).answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartFailed(f"supervisord did not start; see {var / 'log' / 'supervisord.err'}")
        time.sleep(0.05)
