"""Writes what all parts print into one rotating file, each line with its time and part.

A supervisor event listener (``PROCESS_LOG`` and ``PROCESS_STATE`` events): ``python -m launch.log_writer FILE``.
"""

import logging
import logging.handlers
import sys
from typing import TextIO

LARGEST_BYTES = 10 * 1024 * 1024
KEPT = 5
ENDED = {"EXITED", "BACKOFF", "STOPPED", "FATAL", "UNKNOWN"}


def fields(header: str) -> dict[str, str]:
    """``key:value`` pairs apart by blanks."""
    return dict(pair.split(":", 1) for pair in header.split())


def lines_of(pending: str, chunk: str) -> tuple[list[str], str]:
    """The whole lines of a piece of output after what was pending, and the rest."""
    *lines, rest = (pending + chunk).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line for line in lines if line.strip()], rest


def prefixed(part: str, line: str) -> str:
    """A line of the log, without its time."""
    return f"{part:<8} | {line}"


class Lines:
    """Puts pieces of output together to lines, part by part."""

    def __init__(self) -> None:
        self.pending: dict[str, str] = {}

    def take(self, event: str, payload: str) -> list[str]:
        """Lines that this event completes."""
        header, _, chunk = payload.partition("\n")
        part = fields(header)["processname"]
        if event.startswith("PROCESS_LOG"):
            lines, self.pending[part] = lines_of(self.pending.get(part, ""), chunk)
            return [prefixed(part, line) for line in lines]
        state = event.removeprefix("PROCESS_STATE_")
        rest = self.pending.pop(part, "") if state in ENDED else ""
        said = f"({state.lower()}{', pid ' + fields(header)['pid'] if 'pid' in fields(header) else ''})"
        return [prefixed(part, line) for line in (rest, said) if line.strip()]


def listen(source: TextIO, replies: TextIO, log: logging.Logger) -> None:
    """Answer supervisor's events until it closes the pipe."""
    lines = Lines()
    while True:
        replies.write("READY\n")
        replies.flush()
        header = source.readline()
        if not header:
            return
        about = fields(header)
        for line in lines.take(about["eventname"], source.read(int(about["len"]))):
            log.info("%s", line)
        replies.write("RESULT 2\nOK")
        replies.flush()


def main() -> None:
    """Listen on standard input."""
    handler = logging.handlers.RotatingFileHandler(
        sys.argv[1], maxBytes=LARGEST_BYTES, backupCount=KEPT, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("stack")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    listen(sys.stdin, sys.stdout, log)


if __name__ == "__main__":
    main()
