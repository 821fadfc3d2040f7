"""The command line. What a command needs is imported when it runs, so that ``--help`` is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from launch.data_cli import data
from launch.database_cli import database
from launch.jobs_cli import jobs, train

ABOUT = """Battery Life Analysis Platform: upload cycling data of cells, train models of their health, ask how
long they will last.

New here? `battery demo` shows all of it in a few minutes. `battery up` starts the platform for your own work;
`battery users add` makes you an account. `battery COMMAND --help` says more of one.
"""
PLATFORM, WORK, CARE = "The platform", "Training and data", "Tests and care"  # panels of the help

app = typer.Typer(
    name="battery",
    help=ABOUT,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="Accounts that may use the API: add one.", no_args_is_help=True)
app.add_typer(users, name="users", rich_help_panel=PLATFORM)
app.add_typer(jobs, name="jobs", rich_help_panel=WORK)
app.add_typer(data, name="data", rich_help_panel=WORK)
app.add_typer(database, name="database", rich_help_panel=CARE)


@app.callback()
def use_absolute_home() -> None:
    """Every process is to understand BATTERY_HOME alike, wherever it runs."""
    if home := os.environ.get("BATTERY_HOME"):
        os.environ["BATTERY_HOME"] = str(Path(home).expanduser().resolve())


@app.command(rich_help_panel=PLATFORM)
def demo(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A .mat file with cycling data; without one, a synthetic cell.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    *,
    exit_after: Annotated[
        bool, typer.Option("--exit", help="End after the tutorial; status 0 when all of it worked.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Epochs to train for.")] = 100,
) -> None:
    """Start the platform and walk through all of it: upload, train, predict.

    Stays up until Ctrl-C. Uses the platform of this home if it runs already.
    """
    from launch.demo import run_demo

    raise typer.Exit(run_demo(file and file.resolve(), epochs, exit_after=exit_after))


@app.command(rich_help_panel=PLATFORM)
def up() -> None:
    """Start the platform and keep it running until Ctrl-C.

    Starts Prefect with a worker, MLflow, BentoML and the API, each started again when it fails. On a home that is
    running already it says so and ends with status 0.
    """
    from launch.commands import run_up

    raise typer.Exit(run_up())


@app.command(rich_help_panel=PLATFORM)
def down() -> None:
    """Stop the platform that runs in another terminal."""
    from launch.commands import run_down

    raise typer.Exit(run_down())


@app.command(rich_help_panel=PLATFORM)
def status() -> None:
    """Show what runs, where, and whether it works.

    Status 0: all works; 1: something does not; 3: nothing runs.
    """
    from launch.commands import run_status

    raise typer.Exit(run_status())


@app.command(rich_help_panel=PLATFORM)
def logs(
    part: Annotated[str, typer.Argument(help="prefect, mlflow, serving, api or worker; without one, all.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Show the log of all parts (var/log/battery.log)."""
    from launch.commands import run_logs

    raise typer.Exit(run_logs(part, follow=follow, lines=lines))


@app.command(rich_help_panel=PLATFORM)
def settings() -> None:
    """Show every setting: its value now, and what it means."""
    from launch.commands import run_settings

    raise typer.Exit(run_settings())


app.command(rich_help_panel=WORK)(train)


@app.command(rich_help_panel=CARE)
def benchmark(
    protocol: Annotated[str, typer.Argument(help="P1, P2, P4 or P5, see docs/accuracy.md.")],
    *,
    data: Annotated[
        Path, typer.Option(help="Cells in the protocol's form: a folder, or for P2 the archive.", exists=True)
    ],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often each model is trained.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, no tables.")] = False,
) -> None:
    """Train our models and simple ones by a published protocol, and show how good they are."""
    from launch.benchmark import run_benchmark

    raise typer.Exit(run_benchmark(protocol, data.resolve(), seeds, as_json=as_json))


@app.command("test", rich_help_panel=CARE, context_settings={"ignore_unknown_options": True})
def run_pytest(
    arguments: Annotated[list[str] | None, typer.Argument(help="Files, folders and options of pytest.")] = None,
) -> None:
    """Run the tests, all of them or those that are named.

    `./battery test` in the checkout installs what they need. `./battery test -- --help` shows pytest's options.
    """
    from launch.commands import run_tests

    raise typer.Exit(run_tests(arguments or []))


def acceptable(password: str) -> str:
    """The password; what is wrong with it is said before it is typed again."""
    from store.users import SHORTEST_PASSWORD

    if len(password) < SHORTEST_PASSWORD:
        raise typer.BadParameter(f"it needs at least {SHORTEST_PASSWORD} characters")
    return password


@users.command("add")
def users_add(
    email: Annotated[str, typer.Argument(help="Address to sign in with.")],
    *,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, not from the keyboard.")
    ] = False,
) -> None:
    """Make an account. The password is asked for."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, value_proc=acceptable)
    from launch.commands import run_users_add

    raise typer.Exit(run_users_add(email, password))


def main() -> None:
    """Run the command line. What may go wrong is one line and status 1; a defect is a traceback."""
    try:
        app(prog_name="battery")
    except Exception as error:
        from launch.failures import explained

        if (message := explained(error)) is None:
            raise
        typer.echo(f"battery: {message}", err=True)
        sys.exit(1)
