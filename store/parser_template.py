"""The process that parsers are forked from: ``python -m store.parser_template FD``, started by ``store.parser``.

It imports all that a parser needs, once, and then only forks: it never looks at a file, so no upload can change what
the next one is read with. Every order comes over the socket FD, with a socket of its own over which the parser hears
more and answers, and the template then says how the parser ended. Whoever gave an order gives it up by shutting down
that socket. Sockets end with their owner, so a template whose owner was killed ends too, and its parsers with it.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1  # Linux: this process is killed when the one that forked it ends
LARGEST_ORDER = 64 * 1024

Order = dict[str, Any]
Work = Callable[[Order, socket.socket], dict[str, Any]]


@dataclass(frozen=True)
class Parser:
    """A parser at work: its process, a descriptor that is readable when it has ended, and its order's socket."""

    pid: int
    ended: int
    connection: socket.socket


class Template:
    """Forks a parser for each order that comes over a socket."""

    def __init__(self, orders: socket.socket, work: Work) -> None:
        self._orders = orders
        self._work = work
        self._parsers: list[Parser] = []
        self._events = select.poll()

    def serve(self) -> None:
        """Take orders until nobody can give any more."""
        self._events.register(self._orders, select.POLLIN)
        while True:
            for ready, _ in self._events.poll():
                if ready == self._orders.fileno():
                    if not self._take():
                        return
                    continue
                for parser in self._parsers:
                    if ready == parser.ended:
                        self._bury(parser)
                        break
                    if ready == parser.connection.fileno():
                        self._events.unregister(ready)
                        kill(parser.pid)
                        break

    def _take(self) -> bool:
        """Fork a parser for the next order; False when there will be none."""
        message, descriptors, _, _ = socket.recv_fds(self._orders, LARGEST_ORDER, 1)
        if not message:
            return False
        connection = socket.socket(fileno=descriptors[0])
        template = os.getpid()
        pid = os.fork()
        if not pid:
            for descriptor in (self._orders, *(parser.connection for parser in self._parsers)):
                descriptor.close()
            be_a_parser(template, json.loads(message), connection, self._work)
        lead_group(pid)
        parser = Parser(pid, os.pidfd_open(pid), connection)
        self._parsers.append(parser)
        self._events.register(parser.ended, select.POLLIN)
        self._events.register(connection, select.POLLRDHUP)
        return True

    def _bury(self, parser: Parser) -> None:
        """Say how a parser ended, after whatever it said itself."""
        kill(parser.pid)  # its children; until it is waited for, nobody else has its number
        _, status = os.waitpid(parser.pid, 0)
        self._events.unregister(parser.ended)
        os.close(parser.ended)
        with contextlib.suppress(KeyError):  # given up before
            self._events.unregister(parser.connection)
        with parser.connection as connection, contextlib.suppress(OSError):  # nobody may be there to hear it
            connection.sendall(b"\n%d" % os.waitstatus_to_exitcode(status))
        self._parsers.remove(parser)


def lead_group(pid: int) -> None:
    """Make a new process the leader of a group of its own; it and its parent both do, since either may be first."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)


def kill(pid: int) -> None:
    """Kill a parser with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def be_a_parser(template: int, order: Order, connection: socket.socket, work: Work) -> NoReturn:
    """Do one order, say what was found, and end this process whatever happens."""
    status = 1
    try:
        lead_group(os.getpid())
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == template:
            connection.sendall(json.dumps(work(order, connection)).encode())
            status = 0
    except BaseException:  # noqa: BLE001 - there is nobody to raise it to
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Import what parsers need, then serve."""
    import numpy.ma  # noqa: F401 - numpy imports it when a median is first asked for

    from batteries.matfiles import v73  # noqa: F401 - h5py takes longer to import than most files to read
    from batteries.matfiles.reader import known_layouts
    from store.parse_upload import perform

    known_layouts()

    gc.collect()
    gc.freeze()  # what is here already is never looked through again, so parsers share its pages
    Template(socket.socket(fileno=int(sys.argv[1])), perform).serve()


if __name__ == "__main__":
    main()
