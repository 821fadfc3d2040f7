"""Processes of this home, told by the mark in their environment; and who holds a port."""

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from launch.environment import MARK

ORDERLY_S = 60
TERMINATE_S = 5


def marked(home: Path) -> list[psutil.Process]:
    """Living processes of this user that a stack of ``home`` started: proven by the environment they were given."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def alive(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that are still there after waiting."""
    return list(psutil.wait_procs(processes, timeout=timeout_s)[1])


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    alive(processes, TERMINATE_S)


def kill_group(leader: int) -> None:
    """SIGKILL to what is left of a process group whose leader is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def end_left_over(home: Path) -> int:
    """End what an earlier stack of ``home`` left behind, its supervisor first; how many processes that were.

    Call it only while holding the home's lock: then nothing of it can be in use.
    """
    left = marked(home)
    supervisors = [process for process in left if is_supervisor(process)]
    terminate(supervisors)
    if supervisors:
        alive(left, ORDERLY_S)
    rest = marked(home)
    terminate(rest)
    alive(rest, TERMINATE_S)
    kill(marked(home))
    return len(left)


def terminate(processes: Sequence[psutil.Process]) -> None:
    """SIGTERM."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()


def is_supervisor(process: psutil.Process) -> bool:
    """Whether this is supervisord."""
    try:
        return "supervisor.supervisord" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def obstacle(host: str, port: int) -> int | None:
    """Why no server could listen there now, as the system's error number; None when one could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:  # of which the failed look-up of a name is one, with numbers of its own
            return error.errno or errno.EADDRNOTAVAIL
    return None


def listens_on(connection: Any, port: int) -> bool:
    """Whether the local end of a connection is this port."""
    return bool(connection.laddr) and connection.laddr[1] == port


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may see: `` (nginx, process 812)``, else nothing."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and listens_on(connection, port):
                return f" ({psutil.Process(connection.pid).name()}, process {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return ""
