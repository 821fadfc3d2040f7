"""MAT-files of level 5 ("v7.0" and earlier) as a tree; scipy reads them.

scipy trusts what the file declares, so the sizes that its elements declare are added up first.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.limits import MAX_DECLARED_BYTES
from batteries.matfiles.tree import Cells, Floats, Lazy, Node, Numbers, Other, Struct, Text

HEADER_BYTES = 128
TAG_BYTES = 8
MI_COMPRESSED = 15
SUBSYSTEM = "__function_workspace__"


def read_level5(path: Path) -> Struct:
    """The variables of a file as the fields of one struct. The whole file is read.

    Raises:
        UnreadableFile: damaged, or it declares more than the limits allow.
    """
    from scipy.io import loadmat

    with path.open("rb") as file:
        declared = sum(_declared_bytes(file))
    if declared > MAX_DECLARED_BYTES:
        raise UnreadableFile(
            f"the file declares {declared / 1e6:.0f} MB of arrays; at most {MAX_DECLARED_BYTES / 1e6:.0f} MB are read"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of variables it cannot decode; they become Other
            variables = loadmat(path, struct_as_record=True, chars_as_strings=True, mat_dtype=False)
    except MemoryError:
        raise UnreadableFile("the file needs more memory than parsing may use") from None
    except Exception as error:  # scipy raises whatever a damaged byte leads to
        raise UnreadableFile(f"the MAT-file is damaged: {_first_line(error)}") from error
    named = {name: value for name, value in sorted(variables.items()) if not name.startswith("__")}
    return Struct(1, {name: Lazy([value], _node) for name, value in named.items()})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _declared_bytes(file: BinaryIO) -> Iterator[int]:
    """Size in bytes that each variable says it has, inflated; stops where the tags end.

    A compressed variable is inflated as far as its first tag.
    """
    size = file.seek(0, 2)
    file.seek(126)
    order = "<" if file.read(2) == b"IM" else ">"
    at = HEADER_BYTES
    while at + TAG_BYTES <= size:
        file.seek(at)
        kind, length = struct.unpack(f"{order}II", file.read(TAG_BYTES))
        if kind == MI_COMPRESSED:
            inflated = _first_bytes(file.read(min(length, 4096)))
            yield struct.unpack(f"{order}II", inflated)[1] if len(inflated) == TAG_BYTES else 0
        else:
            yield length
        at += TAG_BYTES + length


def _first_bytes(compressed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(compressed, TAG_BYTES)
    except zlib.error as error:
        raise UnreadableFile(f"the MAT-file is damaged: {error}") from error


def _node(value: Any) -> Node:
    """A node for what `loadmat` made of a MATLAB array."""
    if type(value) is not np.ndarray:  # MatlabFunction and MatlabOpaque are subclasses, sparse matrices are not arrays
        return Other(f"MATLAB {type(value).__name__}")
    if value.dtype.names is not None:
        elements = value.ravel(order="F")
        return Struct(value.size, {name: Lazy(elements[name].tolist(), _node) for name in sorted(value.dtype.names)})
    if value.dtype == object:
        return Cells(Lazy(value.ravel(order="F").tolist(), _node))
    if value.dtype.kind == "U":
        return Text("".join(value.ravel()))
    if value.dtype.kind in "biuf":
        return Numbers(value.shape, lambda: _floats(value))
    return Other(f"{value.dtype.name} array")


def _floats(value: "np.ndarray[Any, Any]") -> Floats:
    return value.ravel(order="F").astype(np.float64)
