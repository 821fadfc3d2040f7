"""The DVC repository of the data set: ``.dvc/``, ``data.dvc`` and the cache, in ``settings.home``.

DVC takes half a second to import, so it is imported where it is needed. Its objects lie in ``.dvc/cache/files/md5``,
named by their hash; a directory is an object too, a JSON list of names and hashes. They are read here without DVC.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from store import files
from store.settings import Settings

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCAL, SHARED = "local", "shared"
CONFIG = """\
[core]
    analytics = false
    check_update = false
    no_scm = true
    remote = local
['remote "local"']
    url = ../var/dvc-remote
"""
DVC_IGNORES = f"/data/{files.INCOMING}\n"
GIT_IGNORES = "/config.local\n/tmp\n/cache\n"


class MissingObject(LookupError):
    """Neither the cache nor the remote has bytes that a data version needs."""


def prepare(settings: Settings) -> None:
    """Make the repository where there is none; what is there stays as it is. Folders are this user's alone."""
    dvc = files.private_folder(settings.home / ".dvc")
    files.private_folder(settings.data)
    files.private_folder(dvc / "cache").chmod(0o700)
    files.private_folder(dvc / "tmp").chmod(0o700)
    files.private_folder(settings.var / "dvc-remote")
    for path, content in (
        (dvc / "config", CONFIG),
        (dvc / ".gitignore", GIT_IGNORES),
        (settings.home / ".dvcignore", DVC_IGNORES),
    ):
        if not path.exists():
            path.write_text(content)


class PushFailed(Exception):
    """A data version could not be copied to the remote."""


@contextmanager
def opened(settings: Settings) -> Iterator["Repo"]:
    """The repository through DVC's own interface; it waits for a lock that somebody else holds."""
    from dvc.repo import Repo

    prepare(settings)
    site = files.private_folder(settings.var / "dvc")
    repo = Repo(str(settings.home), config={"core": {"site_cache_dir": str(site)}}, _wait_for_lock=True)
    try:
        choose_remote(repo, settings.dvc_remote)
        yield repo
    finally:
        repo.close()


def choose_remote(repo: "Repo", url: str | None) -> None:
    """Push to and pull from the remote of the settings, from here and from the command line alike."""
    wanted: dict[str, Any] = {"core": {"remote": SHARED}, "remote": {SHARED: {"url": url}}} if url else {}
    configured = repo.config["remote"].get(SHARED, {}).get("url")
    if (configured, repo.config["core"].get("remote")) == (url, SHARED if url else LOCAL):
        return
    with repo.config.edit("local") as config:
        if not wanted:
            config.get("core", {}).pop("remote", None)
            config.get("remote", {}).pop(SHARED, None)
            return
        config.setdefault("core", {})["remote"] = SHARED
        config.setdefault("remote", {}).setdefault(SHARED, {})["url"] = url


def cached(settings: Settings, md5: str) -> Path:
    """Where the cache keeps the bytes with this hash."""
    return settings.home / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def listing(settings: Settings, dvc_hash: str) -> dict[str, str]:
    """Name below ``data/`` → hash of every file of a version. Pulls it when needed; raises MissingObject."""
    fetch(settings, {dvc_hash})
    return {entry["relpath"]: entry["md5"] for entry in orjson.loads(cached(settings, dvc_hash).read_bytes())}


def fetch(settings: Settings, hashes: set[str]) -> None:
    """See to it that the cache has these objects: pull what it lacks. Raises MissingObject."""
    lacking = not_cached(settings, hashes)
    if not lacking:
        return
    with opened(settings) as repo:
        repo.cloud.pull(hash_infos(lacking))
    lost = not_cached(settings, lacking)
    if lost:
        raise MissingObject(f"neither the cache nor the remote has {', '.join(sorted(lost)[:3])}")


def push(settings: Settings, hashes: set[str]) -> None:
    """Copy these objects from the cache to the remote. Raises PushFailed, or what the remote's client raises."""
    with opened(settings) as repo:
        result = repo.cloud.push(hash_infos(hashes))
    if result.failed:
        raise PushFailed(f"{len(result.failed)} objects could not be copied to the remote")


def not_cached(settings: Settings, hashes: set[str]) -> set[str]:
    """Those that the cache does not have."""
    return {md5 for md5 in hashes if not cached(settings, md5).is_file()}


def hash_infos(hashes: set[str]) -> list[Any]:
    """Hashes as DVC takes them."""
    from dvc_data.hashfile.hash_info import HashInfo

    return [HashInfo("md5", md5) for md5 in sorted(hashes)]
