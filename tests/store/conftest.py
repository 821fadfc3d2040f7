"""A home of its own for each test, on SQLite or on a real PostgreSQL, and synthetic batteries in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from batteries.samples import synthetic_cell, write_mat
from store import batteries, data_versions, imports, migrations, session
from store.descriptions import Description
from store.settings import Settings, get_settings
from store.tables import Battery, CycleRow, DataVersion
from store.versions import version_everything


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
def home(bare_home: Settings, monkeypatch: pytest.MonkeyPatch, default_database: Callable[[], str | None]) -> Settings:
    """A home with a migrated database: SQLite by default."""
    assert bare_home.database_url is None
    if url := default_database():
        monkeypatch.setenv("BATTERY_DATABASE_URL", url)
        get_settings.cache_clear()
    migrations.upgrade()
    return get_settings()


@pytest.fixture
def sqlite_home(bare_home: Settings) -> Settings:
    """A home with a migrated SQLite, whatever the tests' default is."""
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
