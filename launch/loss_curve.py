"""Loss curves drawn with characters."""

import math
from collections.abc import Sequence

from rich.text import Text

MARKS = (("validation", "○", "yellow"), ("training", "●", "cyan"))  # the later one is drawn over the earlier
LABEL = 9  # columns left of the axis


def curve(train: Sequence[float | None], validation: Sequence[float | None], width: int = 72, height: int = 12) -> Text:
    """Both losses over the epochs, on a logarithmic scale where they allow it; empty before the first epoch."""
    series = {"training": known(train), "validation": known(validation)}
    values = [value for points in series.values() for _, value in points]
    if not values:
        return Text("")
    scale = math.log10 if min(values) > 0 else float
    low, high = scale(min(values)), scale(max(values))
    columns, epochs = width - LABEL - 2, max(len(train), len(validation))
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for name, mark, style in MARKS:
        for epoch, value in series[name]:
            row = round((high - scale(value)) / ((high - low) or 1.0) * (height - 1))
            cells[row, round(epoch / max(1, epochs - 1) * (columns - 1))] = (mark, style)
    drawn = Text()
    for row in range(height):
        label = max(values) if row == 0 else min(values) if row == height - 1 else None
        drawn.append(f"{'' if label is None else format(label, '.3g'):>{LABEL}} │", style="dim")
        for column in range(columns):
            drawn.append(*cells.get((row, column), (" ", "")))
        drawn.append("\n")
    drawn.append(f"{'':>{LABEL}} └{'─' * (columns - len(str(epochs)) - 1)} {epochs}\n", style="dim")
    for name, mark, style in reversed(MARKS):
        drawn.append(f"{'':>{LABEL + 2}}" if name == "training" else "   ").append(mark, style=style).append(f" {name}")
    return drawn


def known(values: Sequence[float | None]) -> list[tuple[int, float]]:
    """Position and value of each that is a number."""
    return [(epoch, value) for epoch, value in enumerate(values) if value is not None and math.isfinite(value)]
