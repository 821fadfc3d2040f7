"""From an answer to a trajectory: SoH from now to the end of life, with its band.

The curve is a parabola in cycles ahead k: it starts at the predicted SoH with the fade rate that the battery showed
over its latest cycles (least squares), and is at the end of life after the predicted RUL,

    soh(k) = soh - s k - (soh - end - s rul) (k / rul)^2,    s in [0, 2 (soh - end) / rul],

where the bounds of s keep it from rising; it stays there in the cycle in which it arrives. Without a known fade rate
it is the straight line. The band's edges are the same curves through the ends of the 90 % intervals: from the lower SoH
to the lower RUL, from the upper to the upper; one that is at the end of life goes on at the mean pace of the curve
itself, over one cycle where that is longer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 200
FADE_CYCLES = 50  # latest cycles that the fade rate is taken over
FEWEST = 5  # of them that must be known
LONGEST_RUL = 1e6  # cycles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What the curve and the edges of its band share."""

    end_of_life: float
    fade: float | None  # SoH lost a cycle lately
    pace: float  # SoH lost a cycle from now to the end of life, on average


def fade_rate(cycle_index: Floats, soh: Floats) -> float | None:
    """SoH lost a cycle, by least squares over the known among these cycles (N,); None where too few are known."""
    known = np.isfinite(soh) & np.isfinite(cycle_index)
    if known.sum() < FEWEST or np.ptp(cycle_index[known]) == 0:
        return None
    at = cycle_index[known] - cycle_index[known].mean()
    return float(-(at @ soh[known]) / (at @ at))


def forecast(
    result: dict[str, Any], *, end_of_life: float, cycle_index: int | None, fade: float | None
) -> dict[str, Any]:
    """Columns ``cycles_ahead``, ``cycle_index``, ``soh``, ``lower``, ``upper`` of at most ``MOST_POINTS`` points.

    A cell that is past the end of life already has one point, the present one. ``cycle_index`` None: not known.
    """
    soh, rul = float(result["soh"]), min(float(result["rul"]), LONGEST_RUL)
    living = soh > end_of_life and rul > 0
    last = max(1, int(np.ceil(rul))) if living else 0
    ahead = np.unique(np.round(np.linspace(0, last, min(last + 1, MOST_POINTS))))
    pace = (soh - end_of_life) / max(rul, 1.0) if living else 0.0
    shape = Shape(end_of_life, fade, pace)
    centre = np.maximum(curve(ahead, soh, rul, shape), min(soh, end_of_life))
    edges: dict[str, Floats | None] = {"soh": centre, "lower": None, "upper": None}
    if result.get("soh_interval") is not None:
        rul_interval = result["rul_interval"]
        for name, side, farther in (("lower", 0, np.minimum), ("upper", 1, np.maximum)):
            edge = curve(ahead, float(result["soh_interval"][side]), min(float(rul_interval[side]), LONGEST_RUL), shape)
            edges[name] = farther(edge, centre)
    whole = ahead.astype(int)
    return {
        "end_of_life": end_of_life,
        "fade_per_cycle": fade,
        "cycles_ahead": whole.tolist(),
        "cycle_index": None if cycle_index is None else (whole + cycle_index).tolist(),
        **{name: None if values is None else np.round(values, 6).tolist() for name, values in edges.items()},
    }


def curve(ahead: Floats, soh: float, rul: float, shape: Shape) -> Floats:
    """SoH ``ahead`` cycles (K,) from now, never rising, within 0..1."""
    drop = soh - shape.end_of_life
    if drop <= 0 or rul <= 0:
        return np.clip(min(soh, shape.end_of_life) - shape.pace * ahead, 0.0, 1.0)
    straight = drop / rul
    rate = straight if shape.fade is None else min(max(shape.fade, 0.0), 2 * straight)
    bend = (drop - rate * rul) / rul**2
    living = soh - rate * ahead - bend * ahead**2
    after = shape.end_of_life - shape.pace * (ahead - rul)
    return np.clip(np.where(ahead <= rul, living, after), 0.0, 1.0)
