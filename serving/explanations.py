"""Which features moved an answer: occlusion, one feature at a time.

A feature's effect is the answer less the answer to the same cycles with that feature at its typical value of the
training cells (Zeiler & Fergus, ECCV 2014, for the method). Features that depend on each other share what they do
together, so effects need not add up.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import ModelBundle
from serving.questions import Question

MOST = 10  # features told


def explain(bundle: ModelBundle, question: Question) -> list[dict[str, Any]]:
    """The features that moved SoH most, those first: ``feature, value, typical, soh, rul``."""
    window = question.x[-bundle.window :]
    usual = bundle.typical
    told = np.flatnonzero(np.isfinite(window[-1]) & np.isfinite(usual))
    asked = [window, *(with_typical(window, int(column), float(usual[column])) for column in told)]
    count = len(asked)
    index = question.cycle_index[-bundle.window :]
    whole, *without = bundle.predict(asked, [index] * count, [question.chemistry] * count)
    effects: list[dict[str, Any]] = [
        {
            "feature": bundle.feature_names[column],
            "value": float(window[-1, column]),
            "typical": float(usual[column]),
            "soh": whole.soh - answer.soh,
            "rul": whole.rul - answer.rul,
        }
        for column, answer in zip(told, without, strict=True)
    ]
    return sorted(effects, key=lambda effect: (-abs(effect["soh"]), -abs(effect["rul"])))[:MOST]


def with_typical(window: NDArray[np.float32], column: int, value: float) -> NDArray[np.float32]:
    """The cycles (T, F) with one feature at this value wherever it is known."""
    changed = window.copy()
    changed[np.isfinite(window[:, column]), column] = value
    return changed
