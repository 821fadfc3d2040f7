"""MAT-files of v7.3 that are as MATLAB writes them, without HDF5's library, which takes 30 µs to open an object.

Everything is looked at before any array is read, as in `batteries.matfiles.v73`: all objects, where their values lie,
what they declare together. What is not plain is left to the library, with everything that is checked there.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.hdf5_content import Content, NotPlain
from batteries.matfiles.hdf5_headers import Data, Group, Headers
from batteries.matfiles.hdf5_indexes import Chunk, chunks, members
from batteries.matfiles.hdf5_values import values
from batteries.matfiles.limits import MAX_DECLARED_BYTES, MAX_DEPTH, MAX_OBJECTS
from batteries.matfiles.special import HIDDEN, Budget, special
from batteries.matfiles.tree import Cells, Floats, Lazy, Node, Numbers, Other, Struct


def plain_variables(content: mmap) -> Struct | None:
    """The variables of a file as the fields of one struct; None where HDF5's library has to read it."""
    try:
        return _Plain(Content(content)).variables()
    except NotPlain:
        return None


class _Plain:
    """All objects of a file by their addresses, and nodes of them.

    Raises:
        NotPlain: any of them is not plain, there are too many, or a reference names none of them.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self._budget = Budget()
        self._objects: dict[int, Data | Group] = {}
        self._members: dict[int, dict[str, int]] = {}  # by the address of a group
        self._chunks: dict[int, list[Chunk]] = {}  # by the address of their index
        self._declared = 0
        self._walk()
        self._referred: dict[int, list[int]] = {
            address: self._addresses(found)
            for address, found in self._objects.items()
            if isinstance(found, Data) and found.type.kind == "references"
        }

    def _walk(self) -> None:
        content, objects, read = self._content, self._objects, Headers(self._content).read
        waiting = [(content.root, 0)]
        objects[content.root] = read(content.root)
        count = 0
        while waiting:
            at, depth = waiting.pop()
            group = objects[at]
            if not isinstance(group, Group) or depth > MAX_DEPTH:
                raise NotPlain("a root that is no group, or groups nested too deep")
            listed = self._members[at] = members(content, group)
            count += len(listed)
            if count > MAX_OBJECTS:
                raise NotPlain("too many objects")
            for address in listed.values():
                found = objects.get(address)
                if found is None:
                    found = objects[address] = read(address)
                elif isinstance(found, Group):
                    raise NotPlain("a group that is linked twice")
                if isinstance(found, Group):
                    waiting.append((address, depth + 1))
                else:
                    self._declare(found)

    def _declare(self, data: Data) -> None:
        if data.chunk:
            if data.at not in self._chunks:
                self._chunks[data.at] = chunks(self._content, data)
            self._declared += len(self._chunks[data.at]) * prod(data.chunk) * data.type.size
        else:
            self._declared += data.size * data.type.size
        if self._declared > MAX_DECLARED_BYTES:
            raise NotPlain("more bytes than are read")

    def _addresses(self, data: Data) -> list[int]:
        """The objects that references name, 0 for none."""
        found: list[int] = self._values(data).tolist()
        if not all(address in self._objects or not address for address in found):
            raise NotPlain("references to objects that no group names")
        return found

    def variables(self) -> Struct:
        """The variables of the file as the fields of one struct."""
        listed = self._members[self._content.root]
        return Struct(1, self._fields({name: at for name, at in listed.items() if name not in HIDDEN}, 1))

    def _fields(self, listed: Mapping[str, int], depth: int) -> dict[str, Sequence[Node]]:
        node = partial(self._node, depth=depth)
        return {name: Lazy((address,), node) for name, address in listed.items()}

    def _node(self, address: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"structs and cells are nested deeper than {MAX_DEPTH}")
        if not address:
            return Other("an empty reference")
        found = self._objects[address]
        return self._data(address, found, depth) if isinstance(found, Data) else self._struct(address, found, depth)

    def _struct(self, address: int, group: Group, depth: int) -> Node:
        if group.matlab_class not in {None, "struct"} or group.is_sparse:
            return Other(f"MATLAB {group.matlab_class}")
        listed = self._members[address]
        column = self._column_length(next(iter(listed.values()))) if listed else None
        if column is None:
            return Struct(1, self._fields(listed, depth + 1))
        for name, member in listed.items():
            if self._column_length(member) != column:
                raise UnreadableFile(f"the field {name[:63]} has not as many values as its struct array")
        node = partial(self._node, depth=depth + 1)
        return Struct(column, {name: Lazy(self._referred[member], node) for name, member in listed.items()})

    def _column_length(self, address: int) -> int | None:
        """Length of a struct array's field: references without the class that a cell array has. None for others."""
        found = self._objects[address]
        if isinstance(found, Group) or found.type.kind != "references" or found.matlab_class is not None:
            return None
        return found.size

    def _data(self, address: int, data: Data, depth: int) -> Node:
        stored = data.type
        if stored.kind == "references":
            return Cells(Lazy(self._referred[address], partial(self._node, depth=depth + 1)))
        if stored.kind == "compound":
            return Other("complex numbers")
        if stored.dtype[1] != "f":
            found = special(data.matlab_class, data.size, partial(self._values, data), is_empty=data.is_empty)
            if found is not None:
                return found
        return Numbers(data.shape[::-1], partial(self._floats, data))

    def _floats(self, data: Data) -> Floats:
        """All values as x(:); read-only where they lie in the file as they are."""
        return self._values(data).astype(np.float64, copy=False)

    def _values(self, data: Data) -> NDArray[np.generic]:
        """All values of a data set as x(:), of the type that it has."""
        self._budget.take(data.size * data.type.size)
        return values(self._content, data, self._chunks[data.at] if data.chunk else [])
