"""All that a prediction needs in one file, `model.pth`: networks, scalers, calibration, and what they were made from.

The file holds tensors and plain values only, so that `torch.load(weights_only=True)` reads it: no pickled code.
"""

import io
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from batteries.windows import Windows, resized
from models.calibration import FEW_CELLS, Calibration
from models.ensemble import Ensemble
from models.hyperparameters import HYPERPARAMETERS
from models.metrics import Judged
from models.scaling import TargetScale

FORMAT = 3
CHUNK = 4096  # windows a forward pass
OUTSIDE = 0.5  # standard deviations beyond the training range that are worth a warning
NAMED = 3  # features named in a warning
Z_90 = 1.645  # standard deviations within which 90 % of a normal distribution lies
ROUGHLY = 4.0  # factor either way within which RUL is told where no known one could calibrate it

Floats = NDArray[np.float64]


class UnreadableBundle(Exception):
    """The file is not a model of this product, or of a newer one."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one cell at the last cycle it was shown."""

    soh: float  # 0..1
    rul: float  # cycles, >= 0
    confidence: float  # 0..1, probability that the true SoH lies within 0.02 of `soh`
    soh_interval: tuple[float, float] | None  # 90 %; None where nothing could be calibrated
    rul_interval: tuple[float, float]  # 90 %, or a rough range where no held-out RUL was known
    calibration: dict[str, Any]
    warnings: tuple[str, ...]


class ModelBundle:
    """A trained model as it is stored, registered, served and compared."""

    def __init__(
        self, ensemble: Ensemble, scale: TargetScale, calibration: Calibration, metadata: dict[str, Any]
    ) -> None:
        self.ensemble = ensemble.eval()
        self.scale = scale
        self.calibration = calibration
        self.metadata = metadata

    @property
    def algorithm(self) -> str:
        """Name in the catalog."""
        return str(self.metadata["algorithm"])

    @property
    def window(self) -> int:
        """Cycles that the model looks back over; what is shown beyond is ignored."""
        return int(self.metadata["window"])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the F features, in order."""
        return tuple(self.metadata["feature_names"])

    @property
    def typical(self) -> NDArray[np.float32]:
        """Mean (F,) of each feature over the training cycles, NaN where training never knew it."""
        scaler = self.ensemble.scaler
        mean = torch.where(torch.isfinite(scaler.low), scaler.mean, torch.nan)[:-1]
        return np.asarray(mean.numpy(), dtype=np.float32)

    def only(self, *networks: int) -> "ModelBundle":
        """Give a bundle of some of these very networks, by number."""
        return ModelBundle(self.ensemble.only(*networks), self.scale, self.calibration, self.metadata)

    def to_bytes(self) -> bytes:
        """Contents of `model.pth`."""
        content = {
            "format": FORMAT,
            "weights": self.ensemble.state_dict(),
            "scale": asdict(self.scale),
            "calibration": self.calibration.as_dict(),
            "metadata": self.metadata,
        }
        stream = io.BytesIO()
        torch.save(content, stream)
        return stream.getvalue()

    def save(self, path: Path) -> None:
        """Write `model.pth`."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "ModelBundle":
        """Read `model.pth`.

        Raises:
            UnreadableBundle: not a bundle, or one of a newer format.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content["format"] != FORMAT:
                raise UnreadableBundle(f"{path}: format {content['format']}, this program reads {FORMAT}")
            metadata = content["metadata"]
            hyperparameters = HYPERPARAMETERS[metadata["algorithm"]](**metadata["hyperparameters"])
            ensemble = Ensemble.of(metadata["algorithm"], hyperparameters, len(metadata["feature_names"]))
            ensemble.load_state_dict(content["weights"])
            calibration = Calibration.from_dict(content["calibration"])
            return cls(ensemble, TargetScale(**content["scale"]), calibration, metadata)
        except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
            raise UnreadableBundle(f"{path} is not a model of this product: {error}") from error

    def predict(
        self,
        x: Sequence[NDArray[np.floating]],
        cycle_index: Sequence[NDArray[np.floating]] | None = None,
        chemistry: Sequence[str | None] | None = None,
    ) -> list[Answer]:
        """Answer for the last cycle of each item.

        `x`: per item (T, F) features, oldest cycle first, any T >= 1, NaN where unknown; only the last `window` cycles
        count. `cycle_index`: per item (T,) as recorded, NaN or left out where unknown. The answer to an item does not
        depend on what else is asked with it.

        Raises:
            ValueError: an item with no cycle, with no known feature in the cycles that count, another number of
                features, or indices of another length.
        """
        if not len(x):
            return []
        windows = self._windows(x, cycle_index)
        judged = self.judge(windows)
        last = torch.from_numpy(windows.x[:, -1]), torch.tensor(windows.cycle_index[:, -1], dtype=torch.float32)
        beyond, absent = (tell(*last).numpy() for tell in (self.ensemble.scaler.outside, self.ensemble.scaler.absent))
        return self._answers(judged, beyond, absent, windows.mask.sum(axis=1), chemistry or [None] * len(x))

    def judge(self, windows: Windows) -> Judged:
        """Estimate every window, unclipped, beside the truth that the windows hold.

        Windows of another length are cut to the last `window` steps, or padded.
        """
        windows = resized(windows, self.window)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(windows), CHUNK):
                part = windows[slice(start, start + CHUNK)]
                estimate = self.ensemble.estimate(
                    torch.from_numpy(part.x),
                    torch.from_numpy(part.mask),
                    torch.tensor(part.cycle_index, dtype=torch.float32),
                    self.scale,
                )
                parts.append((estimate.soh, estimate.soh_sigma, estimate.rul, estimate.rul_sigma))
        columns = [torch.cat(column).double().numpy() for column in zip(*parts, strict=True)]
        soh, soh_sigma, rul, rul_sigma = columns or [np.zeros(0)] * 4
        return Judged.of(windows, soh, soh_sigma, rul, rul_sigma)

    def _windows(
        self, x: Sequence[NDArray[np.floating]], cycle_index: Sequence[NDArray[np.floating]] | None
    ) -> Windows:
        count, length, features = len(x), self.window, len(self.feature_names)
        filled = np.full((count, length, features), np.nan, dtype=np.float32)
        index = np.full((count, length), np.nan)
        mask = np.zeros((count, length), dtype=np.bool_)
        for row, item in enumerate(x):
            rows = np.asarray(item, dtype=np.float32)
            if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != features:
                raise ValueError(f"item {row}: expected cycles of {features} features, got shape {rows.shape}")
            kept = min(length, len(rows))
            filled[row, length - kept :] = rows[-kept:]
            mask[row, length - kept :] = True
            if not np.isfinite(rows[-kept:]).any():
                raise ValueError(f"item {row}: none of the features is known")
            if cycle_index is not None:
                known = np.asarray(cycle_index[row], dtype=np.float64)
                if known.shape != (len(rows),):
                    raise ValueError(f"item {row}: {len(rows)} cycles, but cycle indices of shape {known.shape}")
                index[row, length - kept :] = known[-kept:]
        unknown = np.full(count, np.nan)
        return Windows(filled, mask, index, unknown, unknown, unknown, np.arange(count))

    def _answers(
        self,
        judged: Judged,
        beyond: NDArray[np.float32],
        absent: NDArray[np.bool_],
        shown: NDArray[np.int64],
        chemistry: Sequence[str | None],
    ) -> list[Answer]:
        confidence, soh_radius, rul_radius = (np.empty(len(judged.soh)) for _ in range(3))
        for pattern in np.unique(absent, axis=0):
            rows = (absent == pattern).all(axis=1)
            calibration = self.calibration.without(frozenset(np.flatnonzero(pattern).tolist()))
            confidence[rows] = calibration.confidence(judged.soh_sigma[rows])
            soh_radius[rows] = calibration.soh_radius(judged.soh_sigma[rows])
            rul_radius[rows] = calibration.rul_radius(judged.rul_sigma[rows])
        past = self.metadata["end_of_life"] - judged.soh
        living = past <= 0
        left = _left(past, soh_radius)
        rul = np.maximum(judged.rul * left, living.astype(np.float64))  # its end is at the next cycle at the earliest
        return [
            Answer(
                soh=float(np.clip(judged.soh[i], 0.0, 1.0)),
                rul=float(rul[i]),
                confidence=float(confidence[i]),
                soh_interval=_interval(judged.soh[i], soh_radius[i], 1.0),
                rul_interval=_rul_interval(float(rul[i]), float(rul_radius[i] * left[i]), living=bool(living[i])),
                calibration=self.calibration.facts(),
                warnings=tuple(self._warnings(beyond[i], absent[i], int(shown[i]), chemistry[i])),
            )
            for i in range(len(judged.soh))
        ]

    def _warnings(
        self, beyond: NDArray[np.float32], absent: NDArray[np.bool_], shown: int, chemistry: str | None
    ) -> list[str]:
        warnings = []
        unknown = [name for name, gone in zip(self.feature_names, absent, strict=False) if gone]
        if unknown:
            more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
            warnings.append(
                f"Unknown: {len(unknown)} of {len(self.feature_names)} features ({', '.join(unknown[:NAMED])}{more}); "
                "the answer is less certain for it."
            )
        far = [int(column) for column in np.argsort(-beyond) if beyond[column] > OUTSIDE]
        if far:
            names = [*self.feature_names, "cycle_index"]
            farthest = ", ".join(names[column] for column in far[:NAMED])
            warnings.append(f"Outside the training range: {len(far)} of {len(names)} inputs, farthest {farthest}.")
        if shown < self.window:
            warnings.append(f"Short window: {shown} of the {self.window} cycles that the model looks back over.")
        known = self.metadata.get("chemistries") or []
        if chemistry and known and chemistry.casefold() not in {name.casefold() for name in known}:
            warnings.append(f"Other chemistry: the model was trained on {', '.join(known)}, not {chemistry}.")
        if self.calibration.kind == "time":
            warnings.append("Calibrated on later cycles of one battery; other batteries may differ more.")
        elif self.calibration.units < FEW_CELLS:
            cells = "1 held-out cell" if self.calibration.units == 1 else f"{self.calibration.units} held-out cells"
            warnings.append(f"Calibrated on {cells}; at least {FEW_CELLS} are wanted.")
        if not self.metadata.get("rul_known"):
            warnings.append("No training cell reached its end of life; RUL is told by the pace at which they aged.")
        if not self.calibration.rul:
            warnings.append(f"No held-out RUL was known; rul_interval is a rough factor of {ROUGHLY:g} either way.")
        return warnings


def _left(past: Floats, soh_radius: Floats) -> Floats:
    """Share of its RUL that is left to a cell whose SoH lies `past` below the end of life: 1 where it does not.

    The probability that an error of a normal distribution, of which `soh_radius` bounds 90 %, is as large as that.
    """
    far = np.divide(Z_90 * past, soh_radius, out=np.full_like(past, np.inf), where=soh_radius > 0)
    share = torch.special.erfc(torch.from_numpy(far / np.sqrt(2))).numpy()
    return np.where(past > 0, share, 1.0)


def _rul_interval(rul: float, radius: float, *, living: bool) -> tuple[float, float]:
    """Cycles; from 0 where the end may be past. Without a radius a rough range, see `models.censoring.left_by_pace`."""
    low, high = _interval(rul, radius, np.inf) or (rul / ROUGHLY, rul * ROUGHLY)
    return (low if living else 0.0), high


def _interval(centre: float, radius: float, highest: float) -> tuple[float, float] | None:
    if not np.isfinite(radius):
        return None
    low, high = np.clip([centre - radius, centre + radius], 0.0, highest)
    return float(low), float(high)
