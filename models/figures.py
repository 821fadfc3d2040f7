"""Pictures of a training run, for MLflow: drawn without a display, PNG bytes by file name."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from models.calibration import Calibration
from models.metrics import Judged, reliability
from models.observer import Epoch

SIZE = (6.4, 4.4)


def draw(epochs: Sequence[Epoch], judged: Judged, rehearsal: Calibration) -> dict[str, bytes]:
    """Loss curve; predicted beside true SoH and RUL; reliability of `confidence` on cycles that no choice has seen."""
    return {
        "loss.png": _png(_loss(epochs)),
        "soh.png": _png(_against(judged.true_soh, judged.soh, judged.cell, "SoH")),
        "rul.png": _png(_against(judged.true_rul, judged.rul, judged.cell, "RUL (cycles)")),
        "reliability.png": _png(_reliability(judged, rehearsal)),
    }


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    return stream.getvalue()


def _loss(epochs: Sequence[Epoch]) -> Figure:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    numbers = [epoch.epoch for epoch in epochs]
    axes.semilogy(numbers, [epoch.train_loss for epoch in epochs], label="training")
    axes.semilogy(numbers, [epoch.val_loss for epoch in epochs], label="validation")
    axes.set(xlabel="Epoch", ylabel="Loss")
    axes.legend()
    return figure


def _against(
    truth: np.typing.NDArray[np.float64],
    predicted: np.typing.NDArray[np.float64],
    cell: np.typing.NDArray[np.int64],
    name: str,
) -> Figure:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    known = np.isfinite(truth)
    for number in np.unique(cell[known]):
        rows = known & (cell == number)
        axes.plot(truth[rows], predicted[rows], ".", label=f"held-out cell {number}", alpha=0.6)
    if known.any():
        ends = [float(truth[known].min()), float(truth[known].max())]
        axes.plot(ends, ends, "k--", linewidth=1)
        axes.legend()
    axes.set(xlabel=f"True {name}", ylabel=f"Predicted {name}")
    return figure


def _reliability(judged: Judged, rehearsal: Calibration) -> Figure:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    bins = reliability(rehearsal.confidence(judged.soh_sigma), judged.within())
    axes.plot([0, 1], [0, 1], "k--", linewidth=1)
    axes.plot([said for said, _, _ in bins], [was for _, was, _ in bins], "o-")
    axes.set(xlabel="Confidence", ylabel="Share within 0.02 SoH", xlim=(0, 1), ylim=(-0.02, 1.02))
    return figure
