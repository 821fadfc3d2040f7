"""Published protocols as tasks: cells of one data set, and which of them judge. Reads what lies in the folder given.

No cell is told by its name but where the protocol itself does so; of cells that a protocol does not know, every one
judges in turn (P1, P4) or every fifth in alphabetical order does (P2).
"""

import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from batteries import labels
from batteries.cycles import discharge_capacities_ah, early_capacity_ah
from batteries.features import FEATURE_NAMES, FEATURE_VERSION, cycle_features
from batteries.matfiles.errors import MatFileError
from batteries.matfiles.reader import read
from batteries.windows import History, fingerprint

END_OF_LIFE = 0.8
FOLDS_OF_MANY = 5  # parts in which more cells than `MOST_ALONE` judge in turn, instead of one by one
MOST_ALONE = 16
WEN_TRAIN, WEN_TEST = {"91", "100"}, {"124"}
WEN_COLUMNS = {"cycle", "rul", "soh"}
PINN4SOH_NOMINAL_AH = {"XJTU": 2.0, "MIT": 1.1, "HUST": 1.1}
EVERY = 5  # of cells that the protocol does not name, one in so many judges
PAST, LONG_PAST = 64, 256  # cycles looked back over; the longer tells XJTU's teaching cells left out better
MANY_CYCLES = 20_000  # from so many on the shorter past: windows take memory


class NoCells(Exception):
    """The folder holds nothing in the protocol's form; the message says what was looked for."""


@dataclass(frozen=True)
class Task:
    """Cells to learn from and cells that judge."""

    name: str
    histories: tuple[History, ...]
    test_cells: tuple[str, ...]
    feature_names: tuple[str, ...]
    feature_version: int = 0
    past: int = PAST  # cycles that windows look back over, where the model looks back


Log = Callable[[str], None]


def tasks(protocol: str, data: Path, log: Log) -> list[Task]:
    """All tasks of a protocol on the cells in `data`.

    Raises:
        NoCells: there are none, or too few.
        ValueError: no such protocol.
    """
    readers = {"P1": [_wen], "P2": [_pinn4soh], "P4": [_nasa], "P5": [_pinn4soh, _nasa]}
    if protocol not in readers:
        raise ValueError(f"no protocol {protocol!r}; there are {', '.join(readers)}")
    found, missing = [], []
    for reader in readers[protocol]:
        try:
            found += reader(data, log)
        except NoCells as error:
            missing.append(str(error))
    if not found:
        raise NoCells("; ".join(missing))
    return found


def _wen(data: Path, log: Log) -> list[Task]:
    """P1: a CSV a cell, a row a cycle, columns Cycle, RUL, SOH and the features."""
    histories: list[History] = []
    names: tuple[str, ...] = ()
    for path in sorted(data.rglob("*.csv")):
        table = pd.read_csv(path)
        known = {str(column).strip().lower(): column for column in table.columns}
        if not known.keys() >= WEN_COLUMNS:
            log(f"Not read, without the columns Cycle, RUL and SOH: {path.name}")
            continue
        cycle, rul, soh = (table[known[name]].to_numpy(np.float64) for name in ("cycle", "rul", "soh"))
        features = table.drop(columns=[known[name] for name in WEN_COLUMNS])
        if histories and tuple(features.columns) != names:
            raise NoCells(f"{path.name} has other features than {histories[0].cell}")
        names = tuple(features.columns)
        histories.append(History(path.stem, cycle, _finite(features.to_numpy(np.float64)), soh, rul))
    histories = _distinct(histories, log)
    cells = {history.cell for history in histories}
    if len(histories) < 2:
        raise NoCells(f"P1 wants at least two CSV files with the columns Cycle, RUL and SOH in {data}")
    if cells == WEN_TRAIN | WEN_TEST:
        return [Task("case A", tuple(histories), tuple(WEN_TEST), names)]
    return _in_turn("P1", histories, names, 0)


def _nasa(data: Path, log: Log) -> list[Task]:
    """P4: `.mat` files, through the product's own reader and features; each cell judges in turn."""
    histories = []
    for path in sorted(data.rglob("*.mat")):
        try:
            recording = read(path)
        except (MatFileError, OSError) as error:
            log(f"Not read: {path.name}: {error}")
            continue
        capacity = discharge_capacities_ah(recording, recording.nominal_capacity_ah)
        nominal = recording.nominal_capacity_ah or early_capacity_ah(capacity)
        if nominal is None:
            log(f"Not read, no capacity is known: {path.name}")
            continue
        index = np.array([cycle.index for cycle in recording.cycles])
        features = np.stack([cycle_features(cycle, nominal) for cycle in recording.cycles])
        soh = labels.soh(capacity, nominal)
        rul = labels.rul(soh, index, END_OF_LIFE)
        histories.append(History(path.stem, index, features, soh, rul, nominal, recording.chemistry))
    histories = _distinct([history for history in histories if np.isfinite(history.soh).any()], log)
    if len(histories) < 2:
        raise NoCells(f"P4 wants at least two .mat files of different cells in {data}")
    return _in_turn("P4", histories, FEATURE_NAMES, FEATURE_VERSION)


def _in_turn(name: str, histories: Sequence[History], names: tuple[str, ...], version: int) -> list[Task]:
    folds = len(histories) if len(histories) <= MOST_ALONE else FOLDS_OF_MANY
    judging = [tuple(history.cell for history in histories[fold::folds]) for fold in range(folds)]
    return [Task(f"{name}: {', '.join(cells)}", tuple(histories), cells, names, version) for cells in judging]


def _pinn4soh(data: Path, log: Log) -> list[Task]:
    """P2: a CSV a cell with 16 features and `capacity` in Ah; a folder `MIT data` is one task, others one a prefix."""
    groups: dict[str, list[tuple[str, pd.DataFrame, float | None]]] = {}
    for path, table in _with_capacity(data, log):
        source = _source((*reversed(path.parts[:-1]), data.name))
        prefix, _, _ = path.stem.rpartition("_battery")
        group = "MIT" if source == "MIT" else f"{source or path.parent.name} {prefix}".strip()
        groups.setdefault(group, []).append((path.stem, table, PINN4SOH_NOMINAL_AH.get(source or "")))
    found = []
    for group, cells in sorted(groups.items()):
        names = tuple(str(column) for column in cells[0][1].columns if column != "capacity")
        judging = _pinn4soh_test(group, sorted(stem for stem, _, _ in cells))
        if not judging or len(judging) == len(cells):
            log(f"{group}: left out, of its {len(cells)} cells {len(judging)} judge")
            continue
        nominal = cells[0][2] or _usual_capacity([table for stem, table, _ in cells if stem not in judging])
        histories = [_pinn4soh_history(stem, table, names, nominal) for stem, table, _ in cells]
        past = LONG_PAST if sum(map(len, histories)) < MANY_CYCLES else PAST
        found.append(Task(group, tuple(histories), judging, names, past=past))
    if not found:
        raise NoCells(f"P2 wants CSV files of at least two cells with a column capacity in {data}")
    return found


def _source(folders: Sequence[str]) -> str | None:
    """Data set that the innermost folder names which names just one."""
    for folder in folders:
        words = {word.upper() for word in re.findall(r"[A-Za-z]+", folder)}
        if len(named := [name for name in PINN4SOH_NOMINAL_AH if name in words]) == 1:
            return named[0]
    return None


def _pinn4soh_test(group: str, cells: Sequence[str]) -> tuple[str, ...]:
    """Cells that judge: as published, else every fifth."""
    if group == "MIT":
        judging = [cell for cell in cells if (number := re.search(r"(\d+)$", cell)) and int(number[1]) % EVERY == 0]
    elif group.startswith("XJTU"):
        judging = [cell for cell in cells if "4" in cell or "8" in cell]
    else:
        judging = []
    return tuple(judging if 0 < len(judging) < len(cells) else cells[EVERY - 1 :: EVERY] or cells[-1:])


def _usual_capacity(tables: Sequence[pd.DataFrame]) -> float:
    early = [early_capacity_ah(table["capacity"].to_numpy(np.float64)) for table in tables]
    return float(np.median([capacity for capacity in early if capacity is not None]))


def _pinn4soh_history(cell: str, table: pd.DataFrame, names: tuple[str, ...], nominal_ah: float) -> History:
    """No row index: the cycle index is unknown. Nothing is known of lives: the records end where they end."""
    capacity = table["capacity"].to_numpy(np.float64)
    unknown = np.full(len(table), np.nan)
    features = _finite(table[list(names)].to_numpy(np.float64))
    return History(cell, unknown, features, labels.soh(capacity, nominal_ah), unknown, nominal_ah)


def _with_capacity(data: Path, log: Log) -> list[tuple[Path, pd.DataFrame]]:
    """CSV files of cells in a folder; where it has none, in the archives in it, or in an archive."""
    found: list[tuple[Path, pd.DataFrame]] = []
    for tables in (_loose(data), _archived(data)):
        for path, table in tables:
            if "capacity" in table.columns:
                found.append((path, table))
            else:
                log(f"Not read, without the column capacity: {path}")
        if found:
            break
    return found


def _loose(data: Path) -> Iterator[tuple[Path, pd.DataFrame]]:
    for path in sorted(data.rglob("*.csv")) if data.is_dir() else []:
        yield path.relative_to(data), pd.read_csv(path)


def _archived(data: Path) -> Iterator[tuple[Path, pd.DataFrame]]:
    for archive in filter(tarfile.is_tarfile, [data] if data.is_file() else sorted(data.rglob("*.tar*"))):
        with tarfile.open(archive) as opened:
            members = sorted((m for m in opened if m.isfile() and m.name.endswith(".csv")), key=lambda m: m.name)
            for member in members:
                content: IO[bytes] | None = opened.extractfile(member)
                if content is not None:
                    yield Path(member.name), pd.read_csv(content)


def _finite(values: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


def _distinct(histories: Sequence[History], log: Log) -> list[History]:
    """One history a cell: a record that lies there twice would stand on both sides."""
    seen: dict[str, str] = {}
    kept = []
    for history in histories:
        contents = fingerprint(replace(history, nominal_capacity_ah=history.nominal_capacity_ah or 1.0), 10)
        if contents in seen:
            log(f"Left out, the same cycles as {seen[contents]}: {history.cell}")
            continue
        seen[contents] = history.cell
        kept.append(history)
    return kept
