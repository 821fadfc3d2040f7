"""Files of the data set: their names, durable writes, and the lock that keeps files and rows together.

Below ``data/``: ``raw/{id}.mat`` (the bytes as uploaded; names of equal files share them), ``cycles/{id}.parquet``,
``batteries/{id}.json``. And
``.incoming``, which DVC ignores: what is being uploaded, on the same file system, so that a rename moves it into place.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INCOMING = ".incoming"
LOCK_NAME = "data.lock"


def kinds(battery_id: int) -> dict[str, str]:
    """Path below the data folder of each of a battery's files."""
    return {
        "raw": f"raw/{battery_id}.mat",
        "cycles": f"cycles/{battery_id}.parquet",
        "description": f"batteries/{battery_id}.json",
    }


def paths(data: Path, battery_id: int) -> dict[str, Path]:
    """Each of a battery's files in a data folder."""
    return {kind: data / name for kind, name in kinds(battery_id).items()}


def job_folder(var: Path, job_id: int) -> Path:
    """Where a training job keeps its checkpoint and its data while it runs."""
    return var / "jobs" / str(job_id)


@contextmanager
def incoming(data: Path) -> Iterator[Path]:
    """A folder of one's own for an upload on its way, removed at the end.

    It is locked while this process lives, so that a sweep tells it from one that a killed process left.
    """
    parent = private_folder(data / INCOMING)
    with beginning(parent, exclusive=False):
        folder = Path(tempfile.mkdtemp(dir=parent))
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextmanager
def beginning(parent: Path, *, exclusive: bool) -> Iterator[None]:
    """Held while an incoming folder is made and locked; exclusively, to see none that is not locked yet."""
    held = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)


def is_abandoned(path: Path) -> bool:
    """Whether a folder or file is there and no living process holds its lock."""
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(held)


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a file lock, waiting for it; between processes and between threads."""
    private_folder(path.parent)
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)


@contextmanager
def changing(var: Path) -> Iterator[None]:
    """Held while files move into or out of place together with their rows; several at once may."""
    with locked(var / LOCK_NAME, exclusive=False):
        yield


@contextmanager
def still(var: Path) -> Iterator[None]:
    """Held to see files and rows agree: nobody is in ``changing`` meanwhile. Take it before a transaction."""
    with locked(var / LOCK_NAME, exclusive=True):
        yield


def private_folder(path: Path) -> Path:
    """The folder; it, and every missing one above it, is made for this user alone. What is there stays as it is."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


def write_durably(path: Path, content: bytes) -> None:
    """A new file whose bytes are on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def move_into_place(moves: dict[Path, Path]) -> None:
    """Rename each file to its place, over what is there, in this order; each name is on the disk before the next."""
    for source, place in moves.items():
        private_folder(place.parent)
        source.replace(place)
        flush(place.parent)


def move_many_into_place(moves: list[tuple[Path, Path]]) -> None:
    """Rename each file to its place, over what is there, in this order; all names are on the disk at the end."""
    places = [place for _, place in moves]
    for folder in {place.parent: None for place in places}:
        private_folder(folder)
    for source, place in moves:
        source.replace(place)
    for folder in {place.parent: None for place in places}:
        flush(folder)


def share_bytes(path: Path, same: Path) -> bool:
    """Make a file another name of one that holds the same bytes, so that they are on the disk once.

    False where that cannot be: the other file is gone, or the file system knows no second names.
    """
    second = path.with_name(f"{path.name}.shared")
    try:
        if same.stat().st_size != path.stat().st_size:
            return False
        os.link(same, second)
    except OSError:
        return False
    second.replace(path)
    return True


def remove(data: Path, battery_id: int) -> None:
    """Remove a battery's files; those that are gone already do not matter."""
    for path in paths(data, battery_id).values():
        path.unlink(missing_ok=True)
