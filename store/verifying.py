"""Whether everything that rows say of the data set is true: of ``data/``, of DVC's cache, and of the remote."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select

from store import data_versions, descriptions, files
from store.dvc_objects import DIRECTORY, MissingObject, Progress, cached, listing, md5_of, silent
from store.dvc_repository import opened
from store.session import reading
from store.settings import Settings, get_settings
from store.sweeping import orphans
from store.tables import Battery, DataVersion

THREADS = 8  # that read and hash the remote's objects


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be, and what to do about it."""

    where: Literal["data", "cache", "remote"]
    name: str  # of a file below data/, or of an object
    issue: str
    cure: str


@dataclass
class Findings:
    """What was looked at, what is wrong, and what is merely not done yet."""

    batteries: int = 0
    versions: int = 0
    objects: int = 0
    contents_read: bool = True  # of the remote's objects, not only their names
    problems: list[Problem] = field(default_factory=list)
    unversioned: list[int] = field(default_factory=list)  # batteries
    unpushed: list[int] = field(default_factory=list)  # versions


def verify(progress: Progress = silent, *, download: bool = False) -> Findings:
    """Compare rows with ``data/``, and every version with the cache and the remote, by reading all bytes.

    Of a remote on another machine only the names are compared, unless ``download``. Changes nothing, and keeps uploads
    waiting for a moment at most. Raises what the remote's client raises when it cannot be reached.
    """
    settings, found = get_settings(), Findings()
    with reading() as session:
        versions = session.scalars(select(DataVersion).order_by(DataVersion.id)).all()
        found.unversioned = data_versions.unversioned(session)
    found.versions = len(versions)
    found.unpushed = [version.id for version in versions if version.pushed_at is None]
    names: dict[int, dict[str, str]] = {}
    wanted: dict[str, list[int]] = {}  # object → versions that hold it
    for version in versions:
        try:
            names[version.id] = listing(settings, version.dvc_hash)
        except MissingObject:
            found.problems.append(lost(version.dvc_hash, [version.id]))
            continue
        for md5 in {version.dvc_hash, *names[version.id].values()}:
            wanted.setdefault(md5, []).append(version.id)
    found.objects = len(wanted)
    check_workspace(settings, names, found)
    check_objects(settings, wanted, found, progress, download=download)
    return found


def lost(md5: str, version_ids: list[int]) -> Problem:
    """Of bytes that nobody has."""
    versions = ", ".join(map(str, version_ids))
    return Problem("cache", md5, f"neither the cache nor the remote has it; version {versions} needs it", "a backup")


def check_workspace(settings: Settings, names: dict[int, dict[str, str]], found: Findings) -> None:
    """Every battery's files against its row and its version; and files that no battery has."""
    with reading() as session:
        battery_ids = list(session.scalars(select(Battery.id).order_by(Battery.id)))
    found.batteries = len(battery_ids)
    for battery_id in battery_ids:
        if any(battery_problems(settings, battery_id, names)):
            with files.still(settings.var):  # it may have been changed at this moment
                found.problems += battery_problems(settings, battery_id, names)
    if orphan_problems(settings):
        with files.still(settings.var):
            found.problems += orphan_problems(settings)


def battery_problems(settings: Settings, battery_id: int, names: dict[int, dict[str, str]]) -> Iterator[Problem]:
    """What is wrong with a battery's files; nothing where there is no such battery any more."""
    with reading() as session:
        battery = session.get(Battery, battery_id)
    if battery is None:
        return
    versioned = names.get(battery.data_version_id or 0, {})
    for kind, name in files.kinds(battery_id).items():
        path = settings.data / name
        back = f"battery data checkout {battery.data_version_id}" if versioned else "a backup"
        if not path.is_file():
            yield Problem("data", name, "is missing", back)
        elif not says_what_the_row_says(kind, path, battery):
            yield Problem("data", name, "is not what its row says", f"rm data/{name}, then {back}")
        elif versioned and md5_of(path) != versioned.get(name):
            issue = f"is not what data version {battery.data_version_id} has"
            yield Problem("data", name, issue, f"rm data/{name}, then {back}")


def says_what_the_row_says(kind: str, path: Path, battery: Battery) -> bool:
    """Whether a file agrees with what the battery's row knows of it."""
    if kind == "description":
        return path.read_bytes() == descriptions.to_json(battery)
    if kind == "raw":
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == battery.sha256
    return True


def orphan_problems(settings: Settings) -> list[Problem]:
    """Files that are named after a battery that does not exist."""
    with reading() as session:
        known = set(session.scalars(select(Battery.id)))
    return [
        Problem("data", str(path.relative_to(settings.data)), "belongs to no battery", "it goes with the next start")
        for path in orphans(settings.data, known)
    ]


def check_objects(
    settings: Settings, wanted: dict[str, list[int]], found: Findings, progress: Progress, *, download: bool
) -> None:
    """Every object of every version: whole in the cache or the remote, and in the remote when it was pushed."""
    kept = {md5 for md5 in wanted if cached(settings, md5).is_file()}
    damaged = {md5 for md5 in kept if md5_of(cached(settings, md5)) != md5.removesuffix(DIRECTORY)}
    for md5 in sorted(damaged):
        place = cached(settings, md5).relative_to(settings.home)
        found.problems.append(Problem("cache", md5, "is damaged", f"rm -f {place}, then battery data pull"))
    if not wanted:
        return
    with opened(settings) as repo:
        remote = repo.cloud.get_remote_odb(command="status")
        there = set(remote.oids_exist(sorted(wanted)))
        found.contents_read = download or remote.fs.protocol == "local"
        bad = damaged_on(remote, there, progress) if found.contents_read else {}
        for md5, issue in sorted(bad.items()):
            cure = f"remove {remote.fs.unstrip_protocol(remote.oid_to_path(md5))}, then battery data push"
            found.problems.append(Problem("remote", md5, issue, cure))
    pushed = set(wanted) - {md5 for md5, holders in wanted.items() if set(holders) <= set(found.unpushed)}
    for md5 in sorted(set(wanted) - there):
        if md5 not in kept:
            found.problems.append(lost(md5, wanted[md5]))
        elif md5 in pushed:
            found.problems.append(Problem("remote", md5, "is missing", "battery data push"))


def damaged_on(remote: Any, hashes: Iterable[str], progress: Progress) -> dict[str, str]:
    """What is wrong with objects of a remote, by hash."""
    ordered, bad = sorted(hashes), {}
    with ThreadPoolExecutor(THREADS) as threads:
        for number, (md5, issue) in enumerate(
            zip(ordered, threads.map(lambda md5: fault(remote, md5), ordered), strict=True)
        ):
            if issue is not None:
                bad[md5] = issue
            progress(number + 1, len(ordered))
    return bad


def fault(remote: Any, md5: str) -> str | None:
    """Why an object of a remote is not what its name says; None when it is."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with remote.fs.open(remote.oid_to_path(md5), "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        return f"cannot be read: {error}"
    return None if digest.hexdigest() == md5.removesuffix(DIRECTORY) else "is damaged"
