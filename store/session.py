"""Transactions on the database of the settings: SQLite in WAL by default, PostgreSQL by URL.

The engine is made on first use and may be used from any thread. A session belongs to the one that opened it.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from store.files import private_folder
from store.settings import get_settings

BUSY_TIMEOUT_S = 30.0  # how long a writer waits for another one on SQLite
POOL_SIZE, POOL_OVERFLOW = 5, 45  # more than the threads that a web server runs sync endpoints on
WRITES = "writes"  # execution option of connections that will write

_engines: dict[str, Engine] = {}
_optioned: dict[tuple[str, ...], Engine] = {}
_lock = threading.Lock()


def engine() -> Engine:
    """The engine of the database in force; made once a process and database."""
    url = get_settings().database
    with _lock:
        if url not in _engines:
            _engines[url] = make_engine(make_url(url))
        return _engines[url]


def reset() -> None:
    """Close every connection; the next use reads the settings anew."""
    with _lock:
        for made in _engines.values():
            made.dispose()
        _engines.clear()
        _optioned.clear()


@contextmanager
def transaction() -> Iterator[Session]:
    """A session that commits at the end, or rolls back when an exception leaves it.

    On SQLite it is a writer from its first statement on (BEGIN IMMEDIATE), so nothing it read can be changed meanwhile:
    keep it short. On PostgreSQL (READ COMMITTED) rows that are read to be changed need ``with_for_update()``.
    """
    with Session(_writer(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A session that sees the database and never changes it; it waits for no writer."""
    with Session(_reader(), expire_on_commit=False, autoflush=False) as session:
        yield session


@contextmanager
def inserting() -> Iterator[Connection]:
    """``transaction`` as a connection, for what every prediction does: a session's bookkeeping costs more than that."""
    with _writer().begin() as connection:
        yield connection


@contextmanager
def selecting() -> Iterator[Connection]:
    """``reading`` as a connection, for what every request asks."""
    with _reader().connect() as connection:
        yield connection


def _writer() -> Engine:
    return _with_options(**{WRITES: True})


def _reader() -> Engine:
    return _with_options(postgresql_readonly=True)


def _with_options(**options: bool) -> Engine:
    """The engine in force with these options of its connections; made once."""
    key = get_settings().database, *options
    if key not in _optioned:
        _optioned[key] = engine().execution_options(**options)
    return _optioned[key]


class Glance:
    """Queries that take microseconds, asked right on the thread of an event loop: no pool, no transaction, no waiting.

    SQLite alone can be asked so. A database that is reached over a network is not looked at.
    """

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._url = ""

    def finds(self, query: str, values: Sequence[object]) -> bool:
        """Whether ``query`` has a row, as of the latest commit; False too where the database cannot tell at once."""
        url = get_settings().database
        if not url.startswith("sqlite"):
            return False
        if self._connection is None or url != self._url:
            self._connection = sqlite3.connect(make_url(url).database or "", timeout=0, isolation_level=None)
            self._url = url
        try:
            return bool(self._connection.execute(query, values).fetchall())  # all: one that is left open holds a lock
        except sqlite3.OperationalError:  # busy
            return False


def make_engine(url: URL) -> Engine:
    """An engine for ``url``; a PostgreSQL one without a driver in its URL gets psycopg."""
    common: dict[str, Any] = {
        "json_serializer": to_json,
        "json_deserializer": orjson.loads,
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_OVERFLOW,
    }
    if url.get_backend_name() != "sqlite":
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        return create_engine(url, pool_pre_ping=True, **common)
    if not url.database or url.database == ":memory:":
        raise ValueError("an SQLite database has to be a file: every process and thread must see the same one")
    make_private_file(Path(url.database))
    made = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **common)
    event.listen(made, "connect", prepare_sqlite)
    event.listen(made, "begin", begin_sqlite)
    return made


def make_private_file(path: Path) -> None:
    """An empty database for this user alone, unless there is one; SQLite gives its log the same permissions."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def to_json(value: object) -> str:
    """JSON for a column. NaN and infinity become null: no database takes them."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()


def prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Every connection: write-ahead log, commits that survive a power cut, foreign keys, our own BEGIN."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:  # another process switches it right now; busy_timeout does not cover this
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: one that only wanted it later would fail when another wrote in between."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def wait_for_turn(connection: Connection, key: int) -> None:
    """Hold what ``key`` stands for, alone, until the transaction ends. SQLite's writers wait for each other anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
