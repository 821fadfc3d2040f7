"""The samples of one cycle, as they came: checked, doubted where their units look wrong, turned into features."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from api.errors import not_valid
from api.predictions.schemas import CycleData
from batteries.features import cycle_features
from batteries.recordings import Cycle

WITHOUT_TIME = "cycle_data.time is missing: features that need time are unknown"
WITHOUT_NOMINAL = "cycle_data.nominal_capacity is missing: features that are measured against it are unknown"
VOLTAGE_V = (0.3, 6.0)  # where the median of a single cell's voltage lies
C_RATE = 50.0  # a current beyond so many nominal capacities an hour is none
CURRENT_A = 1000.0  # and beyond this where no nominal capacity is given
TEMPERATURE_C = (-60.0, 150.0)
TURNOVER = (0.005, 20.0)  # nominal capacities that a cycle moves in and out together
COLUMNS = ("time_s", "voltage_v", "current_a", "temperature_c")
FEW = 10  # samples
ENOUGH = 20  # samples from which on what a cycle moves is worth a doubt

Floats = NDArray[np.float64]


def features_of(data: CycleData) -> NDArray[np.float32]:
    """Features (F,) of the cycle. Raises ValidationFailed when there are none at all."""
    features = cycle_features(denser(as_cycle(data)), data.nominal_capacity)
    if not np.isfinite(features).any():
        issue = (
            f"Nothing can be told from these {len(data.voltage)} samples: they hold neither a charge nor the start of "
            "a discharge that can be followed (current positive on charge, negative on discharge, zero at rest)"
        )
        issue = "; ".join([issue, *doubts(data)])
        raise not_valid("cycle_data", issue)
    return features


def as_cycle(data: CycleData) -> Cycle:
    """The arrays in the domain's terms. Raises ValidationFailed that names the array of another length."""
    samples = len(data.voltage)
    for name in ("current", "temperature", "time"):
        values = getattr(data, name)
        if values is not None and len(values) != samples:
            raise not_valid(f"cycle_data.{name}", f"Has {len(values)} values, voltage has {samples}")
    time_s = column(data.time, samples)
    if data.time is not None and (np.diff(time_s) < 0).any():
        raise not_valid("cycle_data.time", "Time must not run backwards")
    return Cycle(
        index=0,
        time_s=time_s - time_s[0],
        voltage_v=column(data.voltage, samples),
        current_a=column(data.current, samples),
        temperature_c=column(data.temperature, samples),
    )


def denser(cycle: Cycle) -> Cycle:
    """A cycle of few samples with points on the lines between them, since features are not looked for in fewer."""
    if len(cycle) >= FEW:
        return cycle
    given = np.arange(len(cycle), dtype=np.float64)
    wanted = np.linspace(0, len(cycle) - 1, (len(cycle) - 1) * FEW + 1)
    columns = {name: np.interp(wanted, given, getattr(cycle, name)) for name in COLUMNS}
    return Cycle(index=cycle.index, **columns)


def column(values: list[float] | None, samples: int) -> Floats:
    """An array (samples,); NaN throughout where it was not given."""
    return np.full(samples, np.nan) if values is None else np.asarray(values, dtype=np.float64)


def doubts(data: CycleData) -> Iterator[str]:
    """What is missing, and which array looks as if it were in another unit."""
    if data.time is None:
        yield WITHOUT_TIME
    if data.nominal_capacity is None:
        yield WITHOUT_NOMINAL
    if len(data.voltage) < FEW:
        yield f"cycle_data has {len(data.voltage)} samples only: what lies between them is taken for straight lines"
    voltage = float(np.median(data.voltage))
    if not VOLTAGE_V[0] <= voltage <= VOLTAGE_V[1]:
        yield f"cycle_data.voltage: a median of {voltage:g} V is no single cell's; is it in mV, or of a pack?"
    largest = float(np.abs(data.current).max())
    limit = CURRENT_A if data.nominal_capacity is None else C_RATE * data.nominal_capacity
    if largest > limit:
        yield f"cycle_data.current: {largest:g} A is beyond what a cell bears; is it in mA?"
    if data.temperature is not None:
        temperature = float(np.median(data.temperature))
        if not TEMPERATURE_C[0] <= temperature <= TEMPERATURE_C[1]:
            yield f"cycle_data.temperature: a median of {temperature:g} °C is no laboratory's; is it in K?"
    if data.time is not None and data.nominal_capacity is not None and largest <= limit and len(data.time) >= ENOUGH:
        yield from doubted_time(data.time, data.current, data.nominal_capacity)


def doubted_time(time: list[float], current: list[float], nominal_ah: float) -> Iterator[str]:
    """Whether what the cycle moved, in nominal capacities, makes its time unlikely to be in seconds."""
    moved = float(np.trapezoid(np.abs(current), time)) / 3600.0 / nominal_ah
    if moved > TURNOVER[1]:
        yield f"cycle_data.time: {moved:.3g} nominal capacities in one cycle are too many; is it in ms?"
    elif 0 < moved < TURNOVER[0]:
        yield f"cycle_data.time: {moved:.3g} nominal capacities in one cycle are few; is it in minutes or hours?"
