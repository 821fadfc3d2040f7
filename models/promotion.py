"""Which model serves: judged on whole cells that neither the champion nor its challenger learned from.

From three such cells on, the one with the lower mean SoH error serves. With fewer, a challenger has to have learned
from as many cells as the champion, too. Where there is none, one that learned from more cells takes over, if it is of
any use: a model is asked about cells that it does not know, and more cells say more of those. What is left open
changes nothing. Two models that know nothing but one and the same cell are told apart by its last stretch, or by how
much of its life they learned from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.splits import MIN_CYCLES
from batteries.windows import History, fingerprint
from models.bundle import ModelBundle, UnreadableBundle
from models.observer import counted
from models.registered import DamagedModel
from models.registry import Registry

FEW_CELLS = 3  # below, an error says more of these very cells than of the models
MOST_CELLS = 30  # that judge, so that a decision takes seconds; which ones is drawn, always alike
MOST_CYCLES = 50  # of each of them, evenly over its life
ROLES = ("train", "validation")
UNUSABLE = (UnreadableBundle, DamagedModel)
PREVIOUS_CHAMPION = "battery.previous_champion"  # tag of a version that became champion: who served before it
DECISION = "battery.decision"  # tag of a version: why it became champion, or did not


@dataclass(frozen=True)
class Cell:
    """A cell that may judge; its record is read only when it does."""

    names: frozenset[str]  # of all its records, as `History.cell` names them
    read: Callable[[], History | None]  # None where it cannot be read


@dataclass(frozen=True)
class Decision:
    """Whether the challenger takes over, and why."""

    promoted: bool
    reason: str
    cells: int = 0  # that judged
    challenger_mae: float | None = None  # of SoH, mean over these cells
    champion_mae: float | None = None


def promote(
    registry: Registry, algorithm: str, version: str, challenger: ModelBundle, cells: Sequence[Cell]
) -> Decision:
    """Compare the new `version` with the champion and move the alias; the loser is left as `challenger`.

    Nobody else may decide about this algorithm meanwhile.
    """
    reigning = registry.champion(algorithm)
    if reigning == version:
        return Decision(promoted=True, reason="it is the champion already")
    decision = _against(registry, algorithm, reigning, challenger, cells)
    before = {PREVIOUS_CHAMPION: reigning or ""} if decision.promoted else {}
    registry.note(algorithm, version, {DECISION: decision.reason, **before})
    registry.set_alias(algorithm, "champion" if decision.promoted else "challenger", version)
    return decision


def successor(registry: Registry, algorithm: str, versions: Sequence[str], cells: Sequence[Cell]) -> str:
    """Say which of these versions serves next: the first, unless others, in turn, take its place by the same rule."""
    holder, champion = versions[0], None
    for version in versions:
        try:
            challenger = registry.load(algorithm, version)
        except UNUSABLE:
            continue
        if champion is None or decide(challenger, champion, cells).promoted:
            holder, champion = version, challenger
    return holder


def _against(
    registry: Registry, algorithm: str, reigning: str | None, challenger: ModelBundle, cells: Sequence[Cell]
) -> Decision:
    if reigning is None:
        return Decision(promoted=True, reason="there is no champion yet")
    try:
        champion = registry.load(algorithm, reigning)
    except UNUSABLE:  # nor can the prediction service load it
        return Decision(promoted=True, reason="the champion can no longer be read")
    return decide(challenger, champion, cells)


def decide(challenger: ModelBundle, champion: ModelBundle, cells: Sequence[Cell]) -> Decision:
    """Judge both on those of `cells` that taught neither; see the rule above."""
    ours_of, theirs_of = (int(model.metadata["feature_version"]) for model in (challenger, champion))
    if ours_of != theirs_of:
        age = "older" if theirs_of < ours_of else "newer"
        return Decision(theirs_of < ours_of, f"the champion was trained on {age} features")
    if champion.feature_names != challenger.feature_names:
        return Decision(promoted=True, reason="the champion needs features that are no longer made")
    found = errors((challenger, champion), cells)
    if not found:
        return _unjudged(challenger, champion, cells)
    ours, theirs = (float(mean) for mean in np.mean(found, axis=0))
    learned, known = taught_by(challenger), taught_by(champion)
    reason = f"over {_batteries(len(found))} that neither learned from, {_errors(ours, theirs)}"
    too_narrow = len(found) < FEW_CELLS and learned < known
    if ours < theirs and too_narrow:
        reason += f"; these are few, and it learned from {_batteries(learned)}, the champion from {known}"
    return Decision(ours < theirs and not too_narrow, reason, len(found), ours, theirs)


def errors(models: Sequence[ModelBundle], cells: Sequence[Cell]) -> list[tuple[float, ...]]:
    """Mean SoH error of each model on every cell that taught and validated none of them, a row a cell.

    A cell is known again by the name of any of its records, and by what its record holds, whatever it is called. One
    record is in memory at a time.
    """
    names, records = (set(_of(models, kind)) for kind in ("cells", "fingerprints"))
    new = [cell for cell in cells if not cell.names & names]
    found: list[tuple[float, ...]] = []
    for number in np.random.default_rng(0).permutation(len(new)):
        history = new[number].read()
        if history is None or (record := fingerprint(history)) in records:
            continue
        records.add(record)
        rows = _asked(history)
        if len(rows):
            found.append(tuple(_error(model, history, rows) for model in models))
        if len(found) == MOST_CELLS:
            break
    return found


def taught_by(model: ModelBundle) -> int:
    """How many cells it learned from."""
    return len(model.metadata["train_cells"])


def _unjudged(challenger: ModelBundle, champion: ModelBundle, cells: Sequence[Cell]) -> Decision:
    """Decide by what both learned from, since no cell tells how they answer for others."""
    ours, theirs = challenger.metadata, champion.metadata
    alone = ours["by_time"] and theirs["by_time"]
    if alone and ours["train_fingerprints"] == theirs["train_fingerprints"]:
        error, champions = (float(known["metrics"]["soh_mae"]) for known in (ours, theirs))
        reason = f"on the last stretch of the battery that taught both, {_errors(error, champions)}"
        return Decision(error < champions, reason, 0, error, champions)
    names = {*ours["validation_cells"], *theirs["validation_cells"]}
    if alone and any(names <= cell.names for cell in cells):  # one cell, whose record has grown
        learned, known = (int(said["train_windows"]) for said in (ours, theirs))
        reason = f"of the battery that taught both, it learned from {learned} cycles, the champion from {known}"
    else:
        learned, known = taught_by(challenger), taught_by(champion)
        reason = f"no battery is unknown to both; it learned from {_batteries(learned)}, the champion from {known}"
    useless = ours["metrics"]["soh_mae"] >= ours["metrics"]["soh_mae_training_mean"]
    if learned > known and useless:
        reason += ", but the mean of what it learned from would have told its held-out cycles as well"
    return Decision(learned > known and not useless, reason)


def _of(models: Sequence[ModelBundle], kind: str) -> Iterable[str]:
    return (known for model in models for role in ROLES for known in model.metadata[f"{role}_{kind}"])


def _asked(history: History) -> NDArray[np.int64]:
    """Rows with a known SoH and a known feature, evenly over the record; none where it is too short to judge."""
    rows = np.flatnonzero(np.isfinite(history.soh) & np.isfinite(history.features).any(axis=1))
    if len(rows) < MIN_CYCLES:
        return rows[:0]
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_CYCLES)).round().astype(np.int64)]


def _error(model: ModelBundle, history: History, rows: NDArray[np.int64]) -> float:
    """How far off the answers are on average that a user gets who asks about these rows."""
    looked_at = [slice(max(0, row + 1 - model.window), row + 1) for row in rows]
    index = history.cycle_index.astype(np.float64)
    answers = model.predict([history.features[part] for part in looked_at], [index[part] for part in looked_at])
    told, shown = np.array([answer.soh for answer in answers]), np.clip(history.soh[rows], 0.0, 1.0)
    return float(np.mean(np.abs(told - shown)))


def _errors(ours: float, theirs: float) -> str:
    return f"its SoH is off by {ours:.4f} on average, the champion's by {theirs:.4f}"


def _batteries(count: int) -> str:
    return counted(count, "battery", "batteries")
