"""The DVC repository of the data set: ``.dvc/``, ``data.dvc`` and the cache, in ``settings.home``.

DVC takes half a second to import, so it is imported where it is needed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
DVC_IGNORES = f"/data/{files.INCOMING}\n/var\n/.venv\n"  # DVC looks for its pointers everywhere else
GIT_IGNORES = "/config.local\n/tmp\n/cache\n"


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


@contextmanager
def opened(settings: Settings) -> Iterator["Repo"]:
    """The repository through DVC's own interface; it waits for a lock that somebody else holds."""
    from dvc.repo import Repo
    from dvc.ui import ui
    from rich.console import Console

    ui.error_console = Console(file=io.StringIO())  # what is shown on a terminal is the command line's to say
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
    configured = repo.config["remote"].get(SHARED, {}).get("url")
    if (configured, repo.config["core"].get("remote")) == (url, SHARED if url else LOCAL):
        return
    with repo.config.edit("local") as config:
        if not url:
            config.get("core", {}).pop("remote", None)
            config.get("remote", {}).pop(SHARED, None)
            return
        config.setdefault("core", {})["remote"] = SHARED
        config.setdefault("remote", {}).setdefault(SHARED, {})["url"] = url
