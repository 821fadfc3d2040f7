"""Which model serves: the champion stays until a challenger is better on cells that neither was trained on."""

from dataclasses import dataclass

import numpy as np

from batteries.windows import Windows
from models.bundle import ModelBundle
from models.metrics import cell_mean
from models.registry import Registry
from models.training import Fitted


@dataclass(frozen=True)
class Decision:
    """Whether the challenger takes over, and why."""

    promoted: bool
    reason: str
    challenger_mae: float | None = None  # of SoH, mean over the held-out cells
    champion_mae: float | None = None


def promote(registry: Registry, algorithm: str, version: str, fitted: Fitted) -> Decision:
    """Compare the new `version` with the champion and move the alias; the loser is left as `challenger`."""
    reigning = registry.champion(algorithm)
    if reigning == version:
        return Decision(promoted=True, reason="it is the champion already")
    champion = None if reigning is None else registry.load(algorithm, reigning)
    decision = decide(fitted, champion)
    registry.set_alias(algorithm, "champion" if decision.promoted else "challenger", version)
    return decision


def decide(fitted: Fitted, champion: ModelBundle | None) -> Decision:
    """Judge both on the held-out cycles of the new job, leaving out cells that the champion was trained on."""
    if champion is None:
        return Decision(promoted=True, reason="there is no champion yet")
    if champion.feature_names != fitted.bundle.feature_names:
        return Decision(promoted=True, reason="the champion needs features that are no longer made")
    if champion.metadata["feature_version"] != fitted.bundle.metadata["feature_version"]:
        return Decision(promoted=True, reason="the champion was trained on an older version of the features")
    if fitted.bundle.metadata["by_time"] and not same_record(fitted.bundle, champion):
        # Its test cycles are the later life of the one battery it knows; the champion never met that battery.
        return Decision(promoted=False, reason="one battery alone shows nothing about others: no cell was held out")
    test = unseen(fitted, champion)
    if not np.isfinite(test.soh).any():
        return Decision(promoted=False, reason="the champion was trained on every cell held out here")
    ours, theirs = _mae(fitted.bundle, test), _mae(champion, test)
    verdict = "lower than" if ours < theirs else "not lower than"
    reason = f"held-out SoH error {ours:.4f} is {verdict} the champion's {theirs:.4f}"
    return Decision(ours < theirs, reason, ours, theirs)


def same_record(challenger: ModelBundle, champion: ModelBundle) -> bool:
    """Whether both learned from the same one battery, split in time."""
    ours, theirs = challenger.metadata, champion.metadata
    return bool(ours["by_time"] and theirs["by_time"] and ours["train_fingerprints"] == theirs["train_fingerprints"])


def unseen(fitted: Fitted, champion: ModelBundle) -> Windows:
    """Test windows that had no part in the champion.

    A cell is known again by its name and by what its record holds, whatever it is called. Of a battery that both were
    trained on, split in time from the same record, the last stretch is new to both.
    """
    if same_record(fitted.bundle, champion):
        return fitted.split.test
    known = champion.metadata
    seen = {*known["train_cells"], *known["validation_cells"]}
    records = {*known["train_fingerprints"], *known["validation_fingerprints"]}
    new = [
        name not in seen and record not in records
        for name, record in zip(fitted.cells, fitted.fingerprints, strict=True)
    ]
    return fitted.split.test[np.asarray(new)[fitted.split.test.cell]]


def _mae(bundle: ModelBundle, test: Windows) -> float:
    judged = bundle.judge(test)
    return cell_mean(np.abs(judged.soh - judged.true_soh), judged.cell)
