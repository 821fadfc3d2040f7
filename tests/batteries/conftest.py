"""Cells with known numbers, and MAT-files of both kinds written from the same Python values.

dict: struct; list of dicts: struct array; tuple: cell array; str: char; anything else: numbers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from batteries.recordings import Cycle

Variables = dict[str, Any]
WriteMat = Callable[[Path, Variables], Path]


def as_savemat(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: as_savemat(member) for name, member in value.items()}
    if isinstance(value, list):
        array = np.empty((1, len(value)), dtype=[(name, object) for name in value[0]])
        for at, element in enumerate(value):
            array[0, at] = tuple(as_savemat(member) for member in element.values())
        return array
    if isinstance(value, tuple):
        cells = np.empty((1, len(value)), dtype=object)
        for at, member in enumerate(value):
            cells[0, at] = as_savemat(member)
        return cells
    return value if isinstance(value, str) else np.atleast_2d(value)


def write_level5(path: Path, variables: Variables) -> Path:
    savemat(path, as_savemat(variables), do_compression=True)
    return path


class MatlabHdf5:
    """Writes HDF5 the way MATLAB does: classes as attributes, cells and struct arrays through `#refs#`."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.referred = file.create_group("#refs#")

    def refer(self, value: Any) -> h5py.Reference:
        name = f"r{len(self.referred)}"
        self.put(self.referred, name, value)
        return self.referred[name].ref

    def references(self, group: h5py.Group, name: str, values: list[Any]) -> h5py.Dataset:
        data = group.create_dataset(name, (len(values), 1), dtype=h5py.ref_dtype)
        for at, value in enumerate(values):
            data[at, 0] = self.refer(value)
        return data

    def put(self, group: h5py.Group, name: str, value: Any) -> None:
        if isinstance(value, dict | list):
            struct = group.create_group(name)
            struct.attrs["MATLAB_class"] = np.bytes_(b"struct")
            for field in value if isinstance(value, dict) else value[0]:
                if isinstance(value, dict):
                    self.put(struct, field, value[field])
                else:
                    self.references(struct, field, [element[field] for element in value])
        elif isinstance(value, tuple):
            self.references(group, name, list(value)).attrs["MATLAB_class"] = np.bytes_(b"cell")
        elif isinstance(value, str):
            codes = np.array([[ord(letter)] for letter in value], dtype=np.uint16)
            group.create_dataset(name, data=codes).attrs["MATLAB_class"] = np.bytes_(b"char")
        elif np.size(value) == 0:
            empty = group.create_dataset(name, data=np.zeros(2, dtype=np.uint64))
            empty.attrs["MATLAB_class"] = np.bytes_(b"double")
            empty.attrs["MATLAB_empty"] = np.uint8(1)
        else:
            array = np.atleast_2d(value)
            kind = "double" if array.dtype == np.float64 else array.dtype.name
            group.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_(kind.encode())


def write_v73(path: Path, variables: Variables) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        writer = MatlabHdf5(file)
        for name, value in variables.items():
            writer.put(file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    return path


@pytest.fixture(params=["level 5", "v7.3"])
def write_mat(request: pytest.FixtureRequest) -> WriteMat:
    """Writes variables as a MAT-file, once of each kind."""
    return {"level 5": write_level5, "v7.3": write_v73}[request.param]


@pytest.fixture(scope="session")
def writers() -> dict[str, WriteMat]:
    """Both kinds, for tests that compare them."""
    return {"level 5": write_level5, "v7.3": write_v73}


@pytest.fixture(scope="session")
def make_cycle() -> Callable[..., Cycle]:
    """A cycle with numbers that can be followed by hand.

    Charge at 1 A for two hours in steps of 60 s, the voltage rising evenly from 3.2 to 4.2 V; ten minutes of rest at
    4.1 V; `load_a` for `load_s` in steps of 60 s, falling evenly by 0.1 V in ten minutes from 4.0 V; then rest.
    """

    def make(
        load_a: float = 1.0, load_s: float = 7200.0, index: int = 1, recorded_capacity_ah: float | None = None
    ) -> Cycle:
        charge_s = np.arange(0.0, 7201.0, 60.0)
        rest_s = 7200.0 + np.array([300.0, 600.0])
        load = np.arange(0.0, load_s + 1.0, 60.0)
        load_at = 7860.0 + load
        after_s = load_at[-1] + np.array([0.001, 600.0, 1200.0])
        return Cycle(
            index=index,
            time_s=np.concatenate([charge_s, rest_s, load_at, after_s]),
            voltage_v=np.concatenate([3.2 + charge_s / 7200.0, [4.1, 4.1], 4.0 - 0.1 * load / 600.0, [3.5, 3.5, 3.5]]),
            current_a=np.concatenate(
                [np.ones(charge_s.size), [0.0, 0.0], np.full(load.size, -load_a), [-0.001, -0.001, 0.001]]
            ),
            temperature_c=np.concatenate(
                [25.0 + charge_s / 7200.0, [25.0, 25.0], 25.0 + load / 600.0, [30.0, 30.0, 30.0]]
            ),
            recorded_capacity_ah=recorded_capacity_ah,
        )

    return make
