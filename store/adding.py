"""``data/`` into DVC's cache and ``data.dvc``: all of it, or what is new since a version.

Both give the same listing, byte for byte. The second looks at what rows call new alone, so that its cost does not grow
with the data set; what was changed by hand below ``data/`` it does not see.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store import files
from store.dvc_objects import MissingObject, add_files, cached, listing, not_cached
from store.settings import get_settings

if TYPE_CHECKING:
    from dvc.repo import Repo

OF_A_BATTERY = re.compile(r"(?:raw|cycles|batteries)/(\d+)\.\w+")


@dataclass(frozen=True)
class Added:
    """A state of ``data/`` that the cache holds and ``data.dvc`` names."""

    dvc_hash: str
    size_bytes: int


def add_all(repo: "Repo") -> Added:
    """``dvc add data``. The workspace's files stay what they are: they are copied to the cache, not linked to it."""
    [stage] = repo.add([str(get_settings().data)], relink=False)
    [out] = stage.outs
    return Added(dvc_hash=out.hash_info.value, size_bytes=out.meta.size or 0)


def add_changes(repo: "Repo", before: Added, new: set[int], known: set[int]) -> Added:
    """What ``add_all`` would make of ``before`` with batteries ``new`` added or changed and only ``known`` ones left.

    Where ``before`` cannot be built upon any more, it is ``add_all``.
    """
    settings = get_settings()
    try:
        names = listing(settings, before.dvc_hash)
    except MissingObject:
        return add_all(repo)
    kept = {name: md5 for name, md5 in names.items() if stays(settings.data, name, new, known)}
    dropped = [md5 for name, md5 in names.items() if name not in kept]
    if not_cached(settings, dropped) or not (settings.home / "data.dvc").is_file():
        return add_all(repo)
    places = [settings.data / name for battery_id in sorted(new) for name in files.kinds(battery_id).values()]
    added = add_files(repo, {place: place for place in places if place.is_file()})
    size = before.size_bytes - sum(cached(settings, md5).stat().st_size for md5 in dropped)
    size += sum(place.stat().st_size for place in added)
    return point_to(repo, kept | {str(place.relative_to(settings.data)): md5 for place, md5 in added.items()}, size)


def stays(data: Path, name: str, new: set[int], known: set[int]) -> bool:
    """Whether a file of the version before is in the next one as it was."""
    found = OF_A_BATTERY.fullmatch(name)
    return int(found[1]) in known - new if found else (data / name).is_file()


def point_to(repo: "Repo", names: dict[str, str], size_bytes: int) -> Added:
    """Put a listing into the cache and have ``data.dvc`` name it."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    tree: Any = Tree()  # type: ignore[no-untyped-call]
    for name, md5 in names.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    with repo.lock:
        repo.cache.local.add(tree.path, tree.fs, tree.oid)
        stage = repo.stage.load_one(str(get_settings().home / "data.dvc"))
        [out] = stage.outs
        out.hash_info = tree.hash_info
        out.meta = Meta(size=size_bytes, nfiles=len(tree), isdir=True)
        stage.dump()
    return Added(dvc_hash=tree.oid, size_bytes=size_bytes)


def add_ahead(repo: "Repo", battery_ids: Iterable[int]) -> None:
    """Hash and copy batteries' files while uploads go on, so that these wait for little when it counts.

    What changes or goes meanwhile does not matter: links keep the bytes as they were, since changes are renames.
    """
    data = get_settings().data
    with files.incoming(data) as folder:
        links: dict[Path, Path] = {}
        for battery_id in battery_ids:
            for kind, place in files.paths(data, battery_id).items():
                link = folder / f"{battery_id}.{kind}"
                with contextlib.suppress(OSError):  # gone, or no links here: the look that counts sees what there is
                    os.link(place, link)
                    links[place] = link
        add_files(repo, links)
