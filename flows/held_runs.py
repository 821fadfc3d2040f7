"""Which flow runs of Prefect have a living process on this machine, told by locks on files in ``var/runs``.

The system lets go of a dead process's lock, whatever killed it; Prefect may not hear of its end at all.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.files import is_abandoned, private_folder
from store.settings import get_settings


def folder() -> Path:
    """Where each run of this home has its file."""
    return get_settings().var / "runs"


@contextmanager
def held(flow_run_id: str) -> Iterator[None]:
    """Hold the run's file. It stays when an exception leaves: what became of the run is then to be asked."""
    path = private_folder(folder()) / flow_run_id
    with path.open("w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        try:
            yield
        except SystemExit as end:
            if end.code in {None, 0}:
                path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)


def without_process() -> list[str]:
    """Ids of the runs whose process ended without saying how."""
    root = folder()
    return [path.name for path in sorted(root.iterdir()) if is_abandoned(path)] if root.is_dir() else []


def put_away(flow_run_id: str) -> None:
    """Nothing is to be asked of the run any more."""
    (folder() / flow_run_id).unlink(missing_ok=True)
