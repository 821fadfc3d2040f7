"""What ``battery data …`` does; each gives its exit status."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from sqlalchemy import select

from launch.commands import complain, say
from launch.display import console, counted, numbered
from launch.failures import explained
from store import data_versions, migrations
from store.dvc_objects import Progress
from store.session import reading
from store.settings import get_settings
from store.tables import DataVersion

SHORT = 8  # characters of a hash
NAMED = 6  # things that a line names before it counts
WHOLE_HASH = re.compile(r"([0-9a-f]{32})(\.dir)?")
POINTER = re.compile(r"md5: ([0-9a-f]{32}\.dir)")


def run_versions(*, as_json: bool) -> int:
    """A table of the versions, the newest state first; below it, what is in none."""
    migrations.upgrade()
    with reading() as session:
        versions = session.scalars(data_versions.listing()).all()
        current, unversioned = data_versions.current(session), data_versions.unversioned(session)
    current_id = current.id if current else None
    if as_json:
        print(json.dumps([as_data(version, current_id) for version in versions], indent=2))
        return 0
    if not versions:
        say("there is no data version yet")
    else:
        table = Table("version", "hash", "batteries", "size", "created (UTC)", "pushed", "", box=None, pad_edge=False)
        for version in versions:
            table.add_row(
                str(version.id),
                version.dvc_hash[:SHORT],
                str(version.battery_count),
                size(version.size_bytes),
                moment(version.created_at),
                moment(version.pushed_at) if version.pushed_at else "no",
                "current" if version.id == current_id else "",
            )
        console.print(table)
    if unversioned:
        say(f"not versioned yet: {named(unversioned)}")
    elif versions and current is None:
        say("batteries were deleted since the newest version")
    return 0


def as_data(version: DataVersion, current_id: int | None) -> dict[str, object]:
    """A version as JSON has it, named as in the API."""
    return {
        "id": version.id,
        "hash": version.dvc_hash,
        "battery_count": version.battery_count,
        "size_bytes": version.size_bytes,
        "created_at": version.created_at.isoformat(),
        "pushed_at": version.pushed_at.isoformat() if version.pushed_at else None,
        "current": version.id == current_id,
    }


def run_checkout(name: str, *, yes: bool) -> int:
    """Restore a version; asks first when the present state has to be versioned for it."""
    from store.refreshing import refresh_stale
    from store.restoring import outlook, restore

    dvc_hash = find(name)
    ahead = outlook(dvc_hash)
    if ahead.unversioned and not yes:
        say(f"not versioned yet: {named(ahead.unversioned)}. That is done first, so nothing is lost.")
        say(f"Then {changes('would come back or change', ahead.written, 'would go', ahead.removed)}.")
        if not sys.stdin.isatty():
            complain("nothing was done: say --yes to go on, or `battery data push` to version the changes")
            return 1
        if not typer.confirm("Go on?"):
            return 1
    with bar("pulling") as progress:
        done = restore(dvc_hash, progress)
    with reading() as session:
        restored = data_versions.by_hash(session, dvc_hash)
    told = changes("came back or changed", done.written, "went", done.removed)
    say(f"data/ is version {restored.id if restored else dvc_hash} now: {told}")
    if done.before is not None and restored is not None and done.before != restored.id:
        say(f"what was there before is version {done.before}: `battery data checkout {done.before}` brings it back")
        push_what_was_there()
    if refreshed := refresh_stale():
        say(f"an older release made that version: {counted(len(refreshed), 'battery')} got this release's features")
    return 0


def push_what_was_there() -> None:
    """The state that a checkout replaced goes to the remote as well; when that fails, later."""
    from store.remotes import push_versions

    try:
        push_versions()
    except Exception as error:
        if (reason := explained(error)) is None:
            raise
        say(f"it is not on {remote()} yet, `battery data push` copies it: {reason}")


def run_push() -> int:
    """Version what is new, then copy to the remote whatever it lacks."""
    from store.remotes import push_everything
    from store.versions import version_everything

    migrations.upgrade()
    version = version_everything(push=False, everything=True)
    if version is None:
        say("there is nothing to version yet")
        return 0
    with bar("pushing") as progress:
        copied = push_everything(progress)
    say(f"{remote()} has every version, the newest is {version.id}: {counted(copied, 'object')} copied")
    return 0


def run_pull(name: str) -> int:
    """Copy to the cache what it lacks."""
    from store.remotes import pull

    migrations.upgrade()
    hashes = [find(name)] if name else every_version()
    if not hashes:
        say("there is no data version yet, and no data.dvc that names one")
        return 0
    with bar("pulling") as progress:
        copied = pull(hashes, progress)
    say(f"this machine has {counted(len(hashes), 'version')} whole: {counted(copied, 'object')} copied from {remote()}")
    with reading() as session:
        unknown = [dvc_hash for dvc_hash in hashes if data_versions.by_hash(session, dvc_hash) is None]
    for dvc_hash in unknown:
        say(f"the database does not know {dvc_hash}: `battery data checkout {dvc_hash}` makes its batteries again")
    return 0


def run_verify(*, download: bool, as_json: bool) -> int:
    """Say what is wrong, and what to do about it."""
    from store.verifying import verify

    migrations.upgrade()
    with bar("reading") as progress:
        found = verify(progress, download=download)
    if as_json:
        print(json.dumps({"ok": not found.problems, **asdict(found)}, indent=2))
        return 1 if found.problems else 0
    numbers = {"battery": found.batteries, "version": found.versions, "object": found.objects}
    looked = ", ".join(counted(count, noun) for noun, count in numbers.items())
    if found.unversioned:
        say(f"not versioned yet: {named(found.unversioned)}")
    if found.unpushed:
        say(f"on this machine alone: {numbered('version', found.unpushed)}; `battery data push` copies what is missing")
    if not found.contents_read:
        say(f"of {remote()} the names were compared; --download reads the bytes too")
    if not found.problems:
        say(f"all is as it should be: {looked}")
        return 0
    table = Table("where", "what", "issue", "what to do", box=None, pad_edge=False)
    for problem in found.problems:
        table.add_row(problem.where, *map(escape, (problem.name, problem.issue, problem.cure)))
    console.print(table)
    complain(f"{counted(len(found.problems), 'problem')} in {looked}")
    return 1


def find(name: str) -> str:
    """DVC hash of the version that a person names, which the database need not know. Raises NoSuchVersion."""
    migrations.upgrade()
    with reading() as session:
        version = data_versions.find(session, name)
    if version is not None:
        return version.dvc_hash
    if whole := WHOLE_HASH.fullmatch(name.lower()):
        return f"{whole[1]}.dir"
    raise data_versions.NoSuchVersion(f"there is no data version {name!r}; `battery data versions` lists them")


def every_version() -> list[str]:
    """Hashes of all versions; without any, of the one that data.dvc names."""
    with reading() as session:
        known = list(session.scalars(select(DataVersion.dvc_hash)))
    pointer = get_settings().home / "data.dvc"
    if known or not pointer.is_file():
        return known
    return POINTER.findall(pointer.read_text())


@contextmanager
def bar(doing: str) -> Iterator[Progress]:
    """A progress bar on a terminal once there is something to do, nothing elsewhere."""
    shown = Bar(
        TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    task = shown.add_task(doing, total=None)

    def show(done: int, total: int) -> None:
        shown.start()
        shown.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        shown.stop()


def changes(writes: str, written: Sequence[int], removes: str, removed: Sequence[int]) -> str:
    """What a checkout does to batteries: ``batteries 1, 2 came back or changed; battery 7 went``."""
    parts = [
        f"{named(battery_ids)} {does}" for does, battery_ids in ((writes, written), (removes, removed)) if battery_ids
    ]
    return "; ".join(parts) or "no battery is another one"


def named(battery_ids: Sequence[int]) -> str:
    """``batteries 1, 2, 3 and 9 more``."""
    return numbered("battery", battery_ids, NAMED)


def remote() -> str:
    """Where versions are pushed to."""
    settings = get_settings()
    return settings.dvc_remote or str(settings.var / "dvc-remote")


def size(count: float) -> str:
    """``16.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def moment(when: datetime) -> str:
    """``2025-01-07 10:00:00``."""
    return f"{when:%Y-%m-%d %H:%M:%S}"
