"""``battery data …``: versions of the data set. What a command needs is imported when it runs."""

from typing import Annotated

import typer

data = typer.Typer(
    help="Versions of the data set: list, check out, push, pull, verify.",
    no_args_is_help=True,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]


@data.command("versions")
def versions(*, as_json: AsJson = False) -> None:
    """List the data versions, the newest state first."""
    from launch.data_commands import run_versions

    raise typer.Exit(run_versions(as_json=as_json))


@data.command("checkout")
def checkout(
    version: Annotated[str, typer.Argument(help="Its id, its hash, or the first characters of its hash.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when there are unversioned changes.")] = False,
) -> None:
    """Make data/ and the batteries what they were in a version.

    Works while the platform runs, and while it does not. What is there now is kept as a version first, so that a
    checkout of that one brings it back. Batteries that a training job uses are not taken away.
    """
    from launch.data_commands import run_checkout

    raise typer.Exit(run_checkout(version, yes=yes))


@data.command("push")
def push() -> None:
    """Version what is new, and copy to the remote whatever it lacks of any version."""
    from launch.data_commands import run_push

    raise typer.Exit(run_push())


@data.command("pull")
def pull(
    version: Annotated[str, typer.Argument(help="One version; without it, all.")] = "",
) -> None:
    """Copy to this machine whatever it lacks of the versions.

    data/ stays as it is: see checkout. In a home without any version it is the one that data.dvc names.
    """
    from launch.data_commands import run_pull

    raise typer.Exit(run_pull(version))


@data.command("verify")
def verify(
    *,
    download: Annotated[
        bool, typer.Option("--download", help="Read every byte of a remote on another machine, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check data/ against the database, and every version against cache and remote.

    Status 1: something is wrong.
    """
    from launch.data_commands import run_verify

    raise typer.Exit(run_verify(download=download, as_json=as_json))
