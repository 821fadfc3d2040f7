"""``battery train`` and ``battery jobs …``. What a command needs is imported when it runs."""

from typing import Annotated

import typer

jobs = typer.Typer(help="Training jobs of a running platform: list, watch, stop.", no_args_is_help=True)

JobId = Annotated[int, typer.Argument(help="The job's number.")]
Url = Annotated[
    str, typer.Option("--url", help="A platform elsewhere, such as http://HOST:PORT; without it, this home's.")
]
User = Annotated[
    str,
    typer.Option("--user", help="Address to sign in with; without it, BATTERY_ADMIN_EMAIL's account or the demo's."),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, not from the keyboard.")
]


@jobs.command("list")
def list_jobs(
    *,
    status: Annotated[
        str, typer.Option("--status", help="Only jobs that are queued, running, succeeded, failed or stopped.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="So many of the newest.")] = 20,
    url: Url = "",
    user: User = "",
    password_stdin: PasswordStdin = False,
) -> None:
    """List the newest jobs."""
    from launch.job_list import run_list

    raise typer.Exit(run_list(status, limit, url, user, password_stdin=password_stdin))


@jobs.command("watch")
def watch(job_id: JobId, *, url: Url = "", user: User = "", password_stdin: PasswordStdin = False) -> None:
    """Draw a job's progress and its loss curve until it is over. Ctrl-C leaves it alone.

    Status 0: it succeeded; 1: it failed or was stopped.
    """
    from launch.watch import run_watch

    raise typer.Exit(run_watch(job_id, url, user, password_stdin=password_stdin))


@jobs.command("stop")
def stop(job_id: JobId, *, url: Url = "", user: User = "", password_stdin: PasswordStdin = False) -> None:
    """Stop a job: it ends at its next batch and registers nothing."""
    from launch.watch import run_stop

    raise typer.Exit(run_stop(job_id, url, user, password_stdin=password_stdin))


def train(
    *,
    batteries: Annotated[str, typer.Option("--batteries", "-b", help="Numbers of batteries: 1,2,3.")],
    algorithm: Annotated[str, typer.Option("--algorithm", "-a", help="baseline, bilstm or deephpm.")] = "bilstm",
    name: Annotated[str, typer.Option("--name", help="Name of the model; without it, the algorithm's.")] = "",
    hyperparams: Annotated[
        list[str] | None, typer.Option("--set", help="A hyperparameter, such as epochs=50; may be given again.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the job's number and end.")] = False,
    url: Url = "",
    user: User = "",
    password_stdin: PasswordStdin = False,
) -> None:
    """Submit a training job and watch it."""
    from launch.watch import run_train

    body = {
        "algorithm": algorithm,
        "battery_ids": numbers(batteries),
        "hyperparams": dict(setting(given) for given in hyperparams or []),
        **({"model_name": name} if name else {}),
    }
    raise typer.Exit(run_train(body, url, user, password_stdin=password_stdin, detach=detach))


def numbers(text: str) -> list[int]:
    """``1,2,3``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not numbers with commas between them", param_hint="--batteries"
        ) from None


def setting(text: str) -> tuple[str, object]:
    """``epochs=50``; what is no number, true, false or null is a text."""
    import json

    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
