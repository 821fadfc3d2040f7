"""Training jobs as a table in a terminal."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from launch.calling import calling
from launch.commands import say
from launch.display import ago, console
from launch.platform_client import PlatformClient

BATTERIES = 6  # named in a row; of more only their number


def run_list(status: str, limit: int, url: str, user: str, *, password_stdin: bool) -> int:
    """Print the newest jobs, or say that there is none."""
    query = {"page_size": limit} | ({"status": status} if status else {})

    def show(client: PlatformClient) -> int:
        answer = client.call("GET", "/training-jobs", params=query)
        if not answer["items"]:
            say(f"no job is {status}" if status else "no jobs yet: `battery train --batteries 1,2,3` starts one")
            return 0
        console.print(table(answer["items"]))
        if (more := answer["meta"]["total"] - len(answer["items"])) > 0:
            say(f"and {more} older: --limit shows more")
        return 0

    return calling(show, url, user, password_stdin=password_stdin)


def table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """A row a job, newest first as they came."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    made.add_column("job", justify="right")
    for title in ("status", "algorithm", "batteries"):
        made.add_column(title)
    for title in ("epoch", "loss", "age", "model"):
        made.add_column(title, justify="right")
    made.add_column("why")
    for job in jobs:
        loss, model = job["current_loss"], job["model_id"]
        made.add_row(
            str(job["id"]),
            job["status"],
            job["algorithm"],
            named(job["battery_ids"]),
            f"{job['current_epoch']}/{job['total_epochs']}",
            "" if loss is None else f"{loss:.4g}",
            age(job["created_at"]),
            "" if model is None else str(model),
            escape(job["error_message"] or ""),
        )
    return made


def named(battery_ids: Sequence[int]) -> str:
    """``1, 2, 3``, or how many they are."""
    if len(battery_ids) > BATTERIES:
        return f"{len(battery_ids)} batteries"
    return ", ".join(map(str, battery_ids))


def age(created_at: str) -> str:
    """How long ago a moment of the API (ISO 8601, in UTC) was."""
    return ago(datetime.fromisoformat(created_at).timestamp())
