"""What training makes the networks live without, so that one cycle, even one without time, is still answered.

All randomness comes from the generator given: same seed, same numbers, also after a resume.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

TRUNCATED = 0.3  # share of the windows that are shortened
DROPPED = 0.5  # share of the batches that lose columns
TIMED = frozenset({"h", "throughput", "band", "share", "slope"})  # words in names of features that need time
AT_REST = "load_rest_v"  # the one feature of the load that needs no time
CHARGES = frozenset({"charge", "cc", "cv"})  # first words of what a charge tells
MOST_ABSENCES = 16  # families rehearsed one by one
SCATTERED = 0.3  # of those: share that lose columns at random rather than one family


def families(feature_names: Sequence[str]) -> list[list[int]]:
    """Group the columns that tend to be missing together.

    By the first word of a feature's name (charge, load, …); those of temperature; those that need time; the index.
    """
    columns: dict[str, list[int]] = {}
    for column, name in enumerate(feature_names):
        words = name.split("_")
        columns.setdefault(words[0], []).append(column)
        if _needs_temperature(name):
            columns.setdefault("its temperature", []).append(column)
        if _needs_time(name):
            columns.setdefault("its time", []).append(column)
    return [*columns.values(), [len(feature_names)]]


def absences(feature_names: Sequence[str]) -> list[frozenset[int]]:
    """Sets of columns whose absence is rehearsed: each family, and what callers that measure less leave out together.

    None of them takes every feature away.
    """
    named = [frozenset(group) for group in families(feature_names)[:MOST_ABSENCES]]
    index = frozenset([len(feature_names)])
    timed, warm, charged = (
        frozenset(column for column, name in enumerate(feature_names) if wanted(name))
        for wanted in (_needs_time, _needs_temperature, _needs_charge)
    )
    together = [timed | index, timed | warm | index, charged, timed | warm | charged | index]
    features = frozenset(range(len(feature_names)))
    found = dict.fromkeys([*named, index, *together])
    return [absent for absent in found if absent and not features <= absent]


def _needs_temperature(name: str) -> bool:
    return "temperature" in name.split("_")


def _needs_time(name: str) -> bool:
    words = name.split("_")
    return bool(TIMED.intersection(words)) or (words[0] == "load" and name != AT_REST)


def _needs_charge(name: str) -> bool:
    return name.split("_", maxsplit=1)[0] in CHARGES


def truncate(mask: Tensor, generator: Generator) -> Tensor:
    """Forget the early steps of some windows; the last step stays. (B, T) to (B, T)."""
    batch, length = mask.shape
    keep = torch.randint(1, length + 1, (batch, 1), generator=generator)
    shortened = torch.rand((batch, 1), generator=generator) < TRUNCATED
    keep = torch.where(shortened, keep, length).to(mask.device)
    return mask & (torch.arange(length, device=mask.device) >= length - keep)


def dropped_columns(groups: Sequence[Sequence[int]], generator: Generator) -> Tensor | None:
    """Columns (F + 1,) that a whole batch must do without, or nothing."""
    count = groups[-1][0] + 1
    draw, kind = torch.rand(2, generator=generator).tolist()
    if draw >= DROPPED:
        return None
    if kind < SCATTERED:
        dropped = torch.rand(count, generator=generator) < torch.rand((), generator=generator)
    else:
        dropped = torch.zeros(count, dtype=torch.bool)
        chosen = int(torch.randint(len(groups), (), generator=generator))
        dropped[list(groups[chosen])] = True
    if bool(dropped[:-1].all()):
        return None
    return dropped
