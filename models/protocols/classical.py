"""Simple models to stand beside ours: the same windows, the same cells, scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batteries.windows import Windows

Floats = NDArray[np.float64]
ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)
FOLDS = 5


def inputs(windows: Windows) -> Floats:
    """Rows (B, 2F + 2): the last cycle's features and index, and their means over the window. NaN where unknown."""
    steps = np.concatenate([windows.x, windows.cycle_index[..., None]], axis=2).astype(np.float64)
    known = np.isfinite(steps) & windows.mask[..., None]
    count = known.sum(axis=1)
    mean = np.where(count > 0, np.where(known, steps, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
    return np.concatenate([steps[:, -1], mean], axis=1)


def dummy(train: Windows, test: Windows, truth: Callable[[Windows], Floats], seed: int) -> Floats:  # noqa: ARG001
    """Mean of the training cycles."""
    return np.full(len(test), np.nanmean(truth(train)))


def ridge(train: Windows, test: Windows, truth: Callable[[Windows], Floats], seed: int) -> Floats:  # noqa: ARG001
    """Ridge regression on standardised inputs, its penalty chosen across cells."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, cell, asked = _table(train, test, truth)
    model: Any = make_pipeline(StandardScaler(), Ridge())
    cells = len(np.unique(cell))
    if cells > 1:
        grid = {"ridge__alpha": list(ALPHAS)}
        folds = GroupKFold(min(FOLDS, cells))
        model = GridSearchCV(model, grid, scoring="neg_mean_absolute_error", cv=folds).fit(x, y, groups=cell)
    else:
        model = model.fit(x, y)
    return np.asarray(model.predict(asked), dtype=np.float64)


def gradient_boosting(train: Windows, test: Windows, truth: Callable[[Windows], Floats], seed: int) -> Floats:
    """Gradient-boosted trees (histograms)."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    x, y, _, asked = _table(train, test, truth)
    model = HistGradientBoostingRegressor(
        max_iter=300, learning_rate=0.05, max_leaf_nodes=15, max_features=0.5, random_state=seed
    )
    with threadpool_limits(1):  # threads that wait for each other cost more than they gain on a busy machine
        return np.asarray(model.fit(x, y).predict(asked), dtype=np.float64)


CLASSICAL = {"dummy": dummy, "ridge": ridge, "gradient boosting": gradient_boosting}


def _table(
    train: Windows, test: Windows, truth: Callable[[Windows], Floats]
) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
    """Rows whose truth is known; what is missing is the median of the training rows."""
    x, asked, y = inputs(train), inputs(test), truth(train)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    used = np.isfinite(x).any(axis=0)
    middle = np.nanmedian(x[:, used], axis=0)
    filled, wanted = (np.where(np.isfinite(rows[:, used]), rows[:, used], middle) for rows in (x, asked))
    return filled, y, train.cell[known], wanted
