"""Version numbers of models: MAJOR moves with the architecture, MINOR with hyperparameters, PATCH with a retraining."""

from collections.abc import Mapping, Sequence
from typing import Any


def next_version(
    previous: Sequence[tuple[str, Mapping[str, Any] | None]], architecture: int, hyperparameters: Mapping[str, Any]
) -> str:
    """Give the next model of an algorithm its number.

    `previous`: version and hyperparameters (None where no longer known) of every model of the algorithm there ever was,
    oldest first, deleted ones included. `architecture`: the major number of its network, see `models.catalog`.

    Raises:
        ValueError: a previous version is not MAJOR.MINOR.PATCH.
    """
    numbered = [(_parse(version), known) for version, known in previous]
    peers = [(number, known) for number, known in numbered if number[0] == architecture]
    if not peers:
        return f"{architecture}.0.0"
    latest, known = max(peers, key=lambda peer: peer[0])
    if known is not None and dict(known) == dict(hyperparameters):
        return f"{architecture}.{latest[1]}.{latest[2] + 1}"
    return f"{architecture}.{latest[1] + 1}.0"


def _parse(version: str) -> tuple[int, int, int]:
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"{version!r} is not MAJOR.MINOR.PATCH")
    major, minor, patch = (int(part) for part in parts)
    return major, minor, patch
