"""Objects of the data set: the bytes of files and of listings, named by their MD5, in DVC's cache and in its remote.

A directory is an object too (``….dir``): a JSON list of names and hashes. The cache is read here without DVC, which
takes half a second to import; objects are copied through DVC, which knows every kind of remote.
"""

import hashlib
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from store.data_versions import DataVersionError
from store.dvc_repository import opened
from store.settings import Settings

Progress = Callable[[int, int], None]  # objects done, of how many
DIRECTORY = ".dir"
PROTECTED = 0o444


class MissingObject(DataVersionError):
    """Neither the cache nor the remote has bytes that a data version needs."""


class PushFailed(DataVersionError):
    """A data version could not be copied to the remote."""


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def cached(settings: Settings, md5: str) -> Path:
    """Where the cache keeps the bytes with this hash."""
    return settings.home / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def not_cached(settings: Settings, hashes: Iterable[str]) -> set[str]:
    """Those that the cache does not have whole."""
    return {md5 for md5 in hashes if not is_whole(cached(settings, md5), md5)}


def is_whole(path: Path, md5: str) -> bool:
    """Whether the file is there with these bytes. DVC protects what it has copied whole: that is believed unread."""
    try:
        protected = stat.S_IMODE(path.stat().st_mode) == PROTECTED
    except FileNotFoundError:
        return False
    return protected or md5_of(path) == md5.removesuffix(DIRECTORY)


def md5_of(path: Path) -> str:
    """Hash of a file's bytes as DVC names them. Raises FileNotFoundError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def listing(settings: Settings, dvc_hash: str) -> dict[str, str]:
    """Name below ``data/`` → hash of every file of a version. Pulls it when needed; raises MissingObject."""
    fetch(settings, {dvc_hash})
    return {entry["relpath"]: entry["md5"] for entry in orjson.loads(cached(settings, dvc_hash).read_bytes())}


def objects_of(settings: Settings, dvc_hash: str) -> set[str]:
    """Every object of a version: its listing and its files. Raises MissingObject."""
    return {dvc_hash, *listing(settings, dvc_hash).values()}


def fetch(settings: Settings, hashes: set[str], progress: Progress = silent) -> int:
    """See to it that the cache has these objects: pull what it lacks, checked by its hash; how many those were.

    Raises MissingObject, or what the remote's client raises.
    """
    lacking = not_cached(settings, hashes)
    if not lacking:
        return 0
    with opened(settings) as repo:
        copy(repo.cloud.get_remote_odb(command="pull"), repo.cache.local, lacking, progress, verify=True)
    lost = not_cached(settings, lacking)
    if lost:
        raise MissingObject(f"neither the cache nor the remote has {some(lost)}")
    return len(lacking)


def push(settings: Settings, hashes: set[str], progress: Progress = silent) -> int:
    """Copy these objects from the cache to the remote, as far as it lacks them, listings last; how many those were.

    So a listing on the remote says that its files are there too. Raises PushFailed, MissingObject, or what the remote's
    client raises.
    """
    if not hashes:
        return 0
    with opened(settings) as repo:
        cache, remote = repo.cache.local, repo.cloud.get_remote_odb(command="push")
        lacking = hashes - set(remote.oids_exist(sorted(hashes)))
        if lost := not_cached(settings, lacking):
            raise MissingObject(f"neither the cache nor the remote has {some(lost)}")
        listings = {md5 for md5 in lacking if md5.endswith(DIRECTORY)}
        failed: dict[str, BaseException] = {}
        for part in (lacking - listings, listings):
            if not failed:
                failed = copy(cache, remote, part, progress)
    if failed:
        reason = next(iter(failed.values()))
        raise PushFailed(f"{len(failed)} objects could not be copied to the remote: {reason}")
    return len(lacking)


def copy(source: Any, target: Any, hashes: set[str], progress: Progress, **options: Any) -> dict[str, BaseException]:
    """Copy objects from one of DVC's object databases to another; what went wrong, by hash."""
    from fsspec.callbacks import Callback  # type: ignore[import-untyped]

    failed: dict[str, BaseException] = {}
    ordered = sorted(hashes)

    def tell(size: int | None, value: int, **_: Any) -> None:
        progress(value, size or len(ordered))

    if ordered:
        target.add(
            [source.oid_to_path(md5) for md5 in ordered],
            source.fs,
            ordered,
            check_exists=False,
            batch_size=target.fs.jobs,
            callback=Callback(hooks={"progress": tell}),
            on_error=failed.__setitem__,
            **options,
        )
    return failed


def add_files(repo: Any, places: dict[Path, Path]) -> dict[Path, str]:
    """Add files to the cache: name by which DVC will find each again → the bytes, which must not change meanwhile.

    Their hashes, by that name. DVC's state knows them then: what is known to it is not hashed again.
    """
    from dvc_data.hashfile.hash import hash_file

    cache = repo.cache.local
    hashes: dict[Path, str] = {}
    for place, source in places.items():
        info = cache.fs.info(str(source))
        _, found = cache.state.get(str(place), cache.fs, info)
        if found is None or found.name != "md5":
            _, found = hash_file(str(source), cache.fs, "md5", info=info)
            cache.state.save(str(place), cache.fs, found, info)
        hashes[place] = found.value
    cache.add([str(source) for source in places.values()], cache.fs, list(hashes.values()))
    return hashes


def some(hashes: set[str]) -> str:
    """A few of them, for a message."""
    return ", ".join(sorted(hashes)[:3]) + (f" and {len(hashes) - 3} more" if len(hashes) > 3 else "")
