"""Files that are there whole or not at all."""

import secrets
from collections.abc import Callable
from pathlib import Path


def make_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file of this user alone, then give it its name; a torn one is never seen under it."""
    draft = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        draft.touch(mode=0o600)
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
