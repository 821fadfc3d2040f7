"""``battery database …``. What a command needs is imported when it runs."""

from typing import Annotated

import typer

database = typer.Typer(help="The database of the platform's rows: copy it to PostgreSQL.", no_args_is_help=True)


@database.command("copy")
def copy(
    url: Annotated[str, typer.Argument(help="An empty database: postgresql://USER:PASSWORD@HOST/NAME")],
) -> None:
    """Copy every row into another database, as when moving from SQLite to PostgreSQL.

    Stop the platform first. Afterwards set BATTERY_DATABASE_URL to that URL; the old database stays as it is.
    """
    from launch import lock
    from launch.commands import complain, say
    from launch.display import counted
    from store.copying import NotEmpty, copy_rows
    from store.settings import get_settings

    settings = get_settings()
    if lock.holder_pid(lock.lock_file(settings.var)) is not None:
        complain("the platform runs: stop it first (battery down)")
        raise typer.Exit(1)
    try:
        copied = copy_rows(settings.database, url, say)
    except NotEmpty as error:
        complain(str(error))
        raise typer.Exit(1) from error
    say(f"{counted(sum(copied.values()), 'row')} copied; now set BATTERY_DATABASE_URL")
