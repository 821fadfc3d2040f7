"""Which cycles teach, which choose the epoch, and which only judge. No cycle is on two sides.

Five cells or more: whole cells, drawn by `seed`, 15 % of them (at least one) for validation and as many for test.
Two to four: one cell, drawn by `seed`, is the test; the others teach, but for a stretch at 60-75 % of each one's life
that validates, gaps around it. (A whole cell for validation would cost as much of what there is to learn from.)
One cell: in time, the first 70 % teach, the next 15 % validate, the last 15 % test, a window's length between them.
Cells with the same cycles (a file imported twice) count as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from batteries import labels
from batteries.windows import History, Windows, concatenate, fingerprint, windows_of

OPENING = 10  # cycles that a record begins with by which a cell is known again: a file that has grown begins the same
MIN_CYCLES = 12  # with a known SoH, for a cell to be split in time or to judge others
HELD_OUT = 0.15  # share of the cells, or of one cell's life, for validation, and again for test
CELLS_FOR_VALIDATION = 5  # from so many cells on, whole ones validate
VALIDATING = (0.6, 0.75)  # the stretch of a teaching cell's life that validates where there are fewer
TREND_HORIZON = 3  # a trend is not trusted past so many times the life it was seen over


class UnusableData(Exception):
    """The histories cannot be trained on; the message says which battery and why."""


@dataclass(frozen=True, eq=False)
class Split:
    """Windows of each role. `Windows.cell` counts in the order of the histories given to `split`."""

    train: Windows
    validation: Windows
    test: Windows
    train_cells: tuple[str, ...]
    validation_cells: tuple[str, ...]
    test_cells: tuple[str, ...]
    left_out: tuple[str, ...]  # why, a sentence a battery
    validation_from_train_cells: bool  # validation is other life of cells that taught, so it says little of other cells
    by_time: bool  # the test is later life of the cell that taught, not another cell
    length: int  # of the windows; shorter than asked where a single cell's record is short


def split(histories: Sequence[History], length: int, *, seed: int = 0, end_of_life: float = 0.8) -> Split:
    """Divide the cells, or one cell's life, into train, validation and test.

    `end_of_life` is the SoH at which RUL is zero; needed where one cell's RUL must be told from its early life alone.

    Raises:
        UnusableData: no battery has enough cycles with a known SoH.
    """
    usable, left_out = _usable(histories)
    long = [number for number in usable if _labelled(histories[number]) >= MIN_CYCLES]
    short = [number for number in usable if number not in long]
    if not long:
        raise UnusableData("; ".join([*left_out, *(_too_short(histories[number]) for number in short)]))
    order = [
        sorted(long, key=lambda n: histories[n].cell)[i] for i in np.random.default_rng(seed).permutation(len(long))
    ]
    if len(long) == 1:
        parts, shortened = _in_time(histories[order[0]], order[0], length, end_of_life)
        roles = ([*order, *short], order, order)
    elif len(long) < CELLS_FOR_VALIDATION:
        teachers = sorted(order[1:])
        parts, shortened = _one_against_others(histories, order[0], teachers, length)
        roles = ([*teachers, *short], teachers, order[:1])
    else:
        held_out = max(1, round(HELD_OUT * len(order)))
        roles = ([*order[2 * held_out :], *short], order[held_out : 2 * held_out], order[:held_out])
        parts, shortened = [_whole(histories, sorted(numbers), length) for numbers in roles], length
    if short and len(long) < CELLS_FOR_VALIDATION:
        parts[0] = concatenate([parts[0], _whole(histories, short, shortened)])
    train, validation, test = parts
    names = [tuple(histories[number].cell for number in sorted(numbers)) for numbers in roles]
    return Split(
        train,
        validation,
        test,
        train_cells=names[0],
        validation_cells=names[1],
        test_cells=names[2],
        left_out=tuple(left_out),
        validation_from_train_cells=len(long) < CELLS_FOR_VALIDATION,
        by_time=len(long) == 1,
        length=shortened,
    )


def _usable(histories: Sequence[History]) -> tuple[list[int], list[str]]:
    usable: list[int] = []
    left_out: list[str] = []
    seen: dict[str, str] = {}
    longest_first = sorted(range(len(histories)), key=lambda number: -len(histories[number].soh))
    for number in longest_first:
        history = histories[number]
        content = fingerprint(history, OPENING)
        if _labelled(history) == 0:
            left_out.append(_too_short(history))
        elif content in seen:
            left_out.append(f"{history.cell}: begins with the same cycles as {seen[content]}")
        else:
            seen[content] = history.cell
            usable.append(number)
    if not usable:
        raise UnusableData("; ".join(left_out) or "no battery was given")
    return sorted(usable), left_out


def _labelled(history: History) -> int:
    return int((np.isfinite(history.soh) & np.isfinite(history.features).any(axis=1)).sum())


def _too_short(history: History) -> str:
    return (
        f"{history.cell}: {_labelled(history)} of its {len(history)} cycles have features and a known state of health; "
        f"at least {MIN_CYCLES} are needed"
    )


def _whole(histories: Sequence[History], numbers: Sequence[int], length: int) -> Windows:
    return concatenate([windows_of(histories[number], number, length) for number in numbers])


def _in_time(history: History, number: int, length: int, end_of_life: float) -> tuple[list[Windows], int]:
    n = len(history)
    first, second = round((1 - 2 * HELD_OUT) * n), round((1 - HELD_OUT) * n)
    length = min(length, max(1, (second - first) // 2))
    early = known_by(history, first, end_of_life)
    later = known_by(history, second, end_of_life)
    parts = [
        windows_of(early, number, length),
        windows_of(later, number, length, first_row=first + length),
        windows_of(history, number, length, first_row=second + length),
    ]
    for part, role in zip(parts, ("training", "validation", "test"), strict=True):
        if not np.isfinite(part.soh).any():
            raise UnusableData(f"{history.cell}: no cycle of its {role} stretch has a known state of health")
    return parts, length


def _one_against_others(
    histories: Sequence[History], test: int, teachers: Sequence[int], length: int
) -> tuple[list[Windows], int]:
    shortest = min(len(histories[number]) for number in teachers)
    length = min(length, max(1, round((VALIDATING[1] - VALIDATING[0]) * shortest) // 2))
    teaching, validating = [], []
    for number in teachers:
        history = histories[number]
        start, stop = (round(share * len(history)) for share in VALIDATING)
        seen_to = float(np.nanmax(history.cycle_index))
        before, after = _rows(history, 0, start), _rows(history, stop + length - 1, len(history))
        teaching += [windows_of(part, number, length, seen_to=seen_to) for part in (before, after)]
        middle = _rows(history, 0, stop)
        validating.append(windows_of(middle, number, length, first_row=start + length - 1, seen_to=seen_to))
    parts = [concatenate(teaching), concatenate(validating), windows_of(histories[test], test, length)]
    if not all(np.isfinite(part.soh).any() for part in parts):
        names = ", ".join(histories[number].cell for number in teachers)
        raise UnusableData(f"{names}: no cycle at {VALIDATING[0]:.0%}-{VALIDATING[1]:.0%} of life has a known SoH")
    return parts, length


def _rows(history: History, start: int, stop: int) -> History:
    rows = slice(start, stop)
    return replace(
        history,
        cycle_index=history.cycle_index[rows],
        features=history.features[rows],
        soh=history.soh[rows],
        rul=history.rul[rows],
    )


def known_by(history: History, stop: int, end_of_life: float) -> History:
    """Give the first `stop` cycles with the RUL that was knowable then: measured if the end came before, else a trend.

    The trend is a straight line through the second half of the SoH seen; it counts where it falls to `end_of_life`
    within `TREND_HORIZON` times the life seen. Otherwise RUL is unknown, and the record's length is its lower bound.
    """
    part = _rows(history, 0, stop)
    index, soh = np.asarray(part.cycle_index, dtype=np.float64), np.asarray(part.soh, dtype=np.float64)
    measured = labels.rul(soh, index, end_of_life)  # "stays below" is judged by what was seen so far
    if np.isfinite(measured).any():
        return replace(part, rul=measured)
    unknown = np.full(len(index), np.nan)
    recent = np.flatnonzero(np.isfinite(soh))
    recent = recent[len(recent) // 2 :]
    if len(recent) < 3 or np.ptp(index[recent]) == 0:
        return replace(part, rul=unknown)
    slope, offset = np.polyfit(index[recent], soh[recent], 1)
    end = (end_of_life - offset) / slope if slope < 0 else np.inf
    if end > index[-1] + TREND_HORIZON * (index[-1] - index[0] + 1):
        return replace(part, rul=unknown)
    return replace(part, rul=np.maximum(end, index[-1]) - index)
