"""Which cycles teach which network, which choose the epoch, which only judge. No network has a cycle on two sides.

The test cells are those named, or 15 % of the cells (at least one), drawn by `seed`. What the others do depends on
how many they are:

- four or more: each network of the ensemble leaves some of them out, in turn, and is validated on those (cross-fitting:
  every cell teaches, and the errors on the cells left out calibrate confidence);
- two or three: all teach every network, but for a stretch at 60-75 % of each one's life that validates, gaps around it
  (a whole cell would cost as much of what there is to learn from); one rehearsing network more for each cell, which
  leaves that cell out, shows how far off answers for another cell are;
- one: the same stretch validates, and nothing tells how far off answers for other cells are.

A single cell is split in time: the first 70 % teach, the next 15 % validate, the last 15 % test, a window's length
between them. Cells with the same cycles (a file imported twice) count as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batteries import labels
from batteries.windows import History, Windows, concatenate, fingerprint, make_windows, windows_of

OPENING = 10  # cycles that a record begins with by which a cell is known again: a file that has grown begins the same
MIN_CYCLES = 12  # with a known SoH, for a cell to be split in time or to be drawn as one that judges
HELD_OUT = 0.15  # share of the cells, or of one cell's life, for validation, and again for test
CELLS_FOR_CROSS_FITTING = 4  # beside the test cells; from so many on, whole ones are left out in turn
FOLDS = 6  # parts that they are left out in, at least; fewer where there are fewer cells
VALIDATING = (0.6, 0.75)  # the stretch of a teaching cell's life that validates where there are fewer
TREND_HORIZON = 3  # a trend is not trusted past so many times the life it was seen over


class UnusableData(Exception):
    """The histories cannot be trained on; the message says which battery and why."""


@dataclass(frozen=True, eq=False)
class Split:
    """Windows of each role. `Windows.cell` counts in the order of the histories given to `split`.

    Network k learns from the windows of `train` but those of the cells `withheld[k]`, and is validated on the windows
    of `validation` of these cells, or on all of them where it leaves out none (see `teaches`, `validates`).
    """

    train: Windows
    validation: Windows
    test: Windows
    train_cells: tuple[str, ...]  # all that teach, also those that some network leaves out
    validation_cells: tuple[str, ...]
    test_cells: tuple[str, ...]
    left_out: tuple[str, ...]  # why, a sentence a battery
    withheld: tuple[tuple[int, ...], ...]  # a network each: cells that it does not learn from, in the order given
    networks: int  # how many of them answer; the rest only rehearse how far off answers for another cell are
    by_time: bool  # the test is later life of the cell that taught, not another cell
    length: int  # of the windows; shorter than asked where a single cell's record is short

    def teaches(self, network: int) -> NDArray[np.bool_]:
        """Which windows of `train` this network learns from."""
        return ~np.isin(self.train.cell, self.withheld[network])

    def validates(self, network: int) -> NDArray[np.bool_]:
        """Which windows of `validation` this network is validated on."""
        withheld = self.withheld[network]
        return np.isin(self.validation.cell, withheld) if withheld else np.ones(len(self.validation), dtype=bool)


def split(
    histories: Sequence[History],
    length: int,
    *,
    seed: int = 0,
    end_of_life: float = 0.8,
    networks: int = 1,
    test_cells: Sequence[str] | None = None,
) -> Split:
    """Divide the cells, or one cell's life, into train, validation and test.

    `end_of_life` is the SoH at which RUL is zero; needed where one cell's RUL must be told from its early life alone.
    `networks` is the size of the ensemble. `test_cells` names the cells that judge, which must not be all of them.

    Raises:
        UnusableData: no battery has enough cycles with a known SoH, or none is left to teach.
    """
    usable, left_out = _usable(histories)
    long = [number for number in usable if _labelled(histories[number]) >= MIN_CYCLES]
    short = [number for number in usable if number not in long]
    if not long:
        raise UnusableData("; ".join([*left_out, *(_too_short(histories[number]) for number in short)]))
    if test_cells is None and len(long) == 1:
        alone = _in_time(histories, long[0], length, end_of_life=end_of_life, networks=networks)
        return replace(
            alone,
            train=_joined(alone.train, histories, short, alone.length),
            train_cells=_names(histories, [long[0], *short]),
            left_out=tuple(left_out),
        )
    test, teachers = _roles(histories, usable, long, seed, test_cells)
    short = [number for number in short if number not in test]
    parts = _cross_fitted if len(teachers) >= CELLS_FOR_CROSS_FITTING else _by_stretch
    train, validation, withheld, length = parts(histories, teachers, length, networks)
    train = _joined(train, histories, short, length)
    validating = set().union(*withheld) if parts is _cross_fitted else set(teachers)
    return Split(
        train,
        validation,
        make_windows(histories, length, test),
        train_cells=_names(histories, [*teachers, *short]),
        validation_cells=_names(histories, validating),
        test_cells=_names(histories, test),
        left_out=tuple(left_out),
        withheld=withheld,
        networks=networks,
        by_time=False,
        length=length,
    )


def _roles(
    histories: Sequence[History],
    usable: Sequence[int],
    long: Sequence[int],
    seed: int,
    test_cells: Sequence[str] | None,
) -> tuple[list[int], list[int]]:
    """Cells that judge and cells that teach; the latter in an order drawn by `seed`. Those named judge if usable."""
    by_name = sorted(long, key=lambda n: histories[n].cell)
    order = [by_name[i] for i in np.random.default_rng(seed).permutation(len(by_name))]
    if test_cells is None:
        held_out = max(1, round(HELD_OUT * len(order)))
        return sorted(order[:held_out]), order[held_out:]
    test = [number for number in usable if histories[number].cell in test_cells]
    teachers = [number for number in order if number not in test]
    if not test or not teachers:
        raise UnusableData(f"{len(test)} of {len(usable)} batteries are to judge; at least one, and not all, must be")
    return test, teachers


def _cross_fitted(
    histories: Sequence[History], teachers: Sequence[int], length: int, networks: int
) -> tuple[Windows, Windows, tuple[tuple[int, ...], ...], int]:
    folds = min(max(FOLDS, networks), len(teachers))
    withheld = tuple(tuple(sorted(teachers[network % folds :: folds])) for network in range(networks))
    validating = sorted(set().union(*withheld))
    train, validation = (make_windows(histories, length, numbers) for numbers in (sorted(teachers), validating))
    return train, validation, withheld, length


def _names(histories: Sequence[History], numbers: set[int] | Sequence[int]) -> tuple[str, ...]:
    return tuple(histories[number].cell for number in sorted(numbers))


def _joined(windows: Windows, histories: Sequence[History], more: Sequence[int], length: int) -> Windows:
    return concatenate([windows, make_windows(histories, length, more)]) if more else windows


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


def _in_time(histories: Sequence[History], number: int, length: int, *, end_of_life: float, networks: int) -> Split:
    history, n = histories[number], len(histories[number])
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
    return Split(
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        train_cells=(history.cell,),
        validation_cells=(history.cell,),
        test_cells=(history.cell,),
        left_out=(),
        withheld=((),) * networks,
        networks=networks,
        by_time=True,
        length=length,
    )


def _by_stretch(
    histories: Sequence[History], teachers: Sequence[int], length: int, networks: int
) -> tuple[Windows, Windows, tuple[tuple[int, ...], ...], int]:
    teachers = sorted(teachers)
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
    train, validation = concatenate(teaching), concatenate(validating)
    if not all(np.isfinite(part.soh).any() for part in (train, validation)):
        names = ", ".join(histories[number].cell for number in teachers)
        raise UnusableData(f"{names}: no cycle at {VALIDATING[0]:.0%}-{VALIDATING[1]:.0%} of life has a known SoH")
    rehearsing = tuple((number,) for number in teachers) if len(teachers) > 1 else ()
    return train, validation, (*((),) * networks, *rehearsing), length


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
