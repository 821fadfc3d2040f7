"""Every row of one database into another, as when a platform moves from SQLite to PostgreSQL."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, Table, func, insert, make_url, select, text

from store import migrations
from store.session import WRITES, make_engine
from store.tables import Table as Base

BATCH = 1000  # rows


class NotEmpty(Exception):
    """The database to be filled holds rows already."""


def copy_rows(source: str, target: str, say: Callable[[str], None]) -> dict[str, int]:
    """Copy all tables from the database of one URL to that of another, empty one; rows copied, by table.

    One transaction in each: what is copied is one state of the source, and the target has all of it or nothing. Stop
    the platform first: rows that are written afterwards are not copied. Raises NotEmpty.
    """
    origin, destination = make_engine(make_url(source)), make_engine(make_url(target))
    try:
        for engine in (origin, destination):
            migrations.upgrade(database=engine)
        return copy_between(origin, destination, say)
    finally:
        origin.dispose()
        destination.dispose()


def copy_between(origin: Engine, destination: Engine, say: Callable[[str], None]) -> dict[str, int]:
    """Copy from one engine's database to the other's."""
    copied = {}
    with origin.connect() as read, destination.execution_options(**{WRITES: True}).begin() as write:
        for table in Base.metadata.sorted_tables:
            if write.scalar(select(func.count()).select_from(table)):
                raise NotEmpty(f"there are rows in {table.name} already; an empty database is needed")
        for table in Base.metadata.sorted_tables:
            copied[table.name] = copy_table(table, read, write)
            say(f"{table.name}: {copied[table.name]} rows")
    return copied


def copy_table(table: Table, read: Connection, write: Connection) -> int:
    """Copy one table, and let the target go on numbering where the source was."""
    count = 0
    for rows in read.execution_options(yield_per=BATCH).execute(select(table)).mappings().partitions():
        write.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    if write.dialect.name == "postgresql" and (numbered := table.autoincrement_column) is not None:
        highest = max(last_number(table, read), write.scalar(select(func.max(numbered))) or 0)
        if highest:
            sequence = select(func.pg_get_serial_sequence(table.name, numbered.name)).scalar_subquery()
            write.execute(select(func.setval(sequence, highest)))
    return count


def last_number(table: Table, read: Connection) -> int:
    """The highest id that was ever given, also to rows that are gone: ids that name files are never given again."""
    if read.dialect.name != "sqlite" or not table.dialect_options["sqlite"]["autoincrement"]:
        return 0
    found = read.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
    return int(found.scalar() or 0)
