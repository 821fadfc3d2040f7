"""Object headers of HDF5 (version 1): what an object is, and where its values lie.

Headers of one field are alike. A `Form` remembers one that was read; others are compared with it in a step.
"""

import struct
from math import prod
from operator import gt
from typing import NamedTuple

from batteries.matfiles.hdf5_content import Content, NotPlain
from batteries.matfiles.hdf5_messages import (
    ATTRIBUTE,
    BEYOND_LIMITS,
    CONTINUATION,
    FILTERS,
    IGNORED,
    LAYOUT,
    ONCE,
    SPACE,
    TABLE,
    TYPE,
    Place,
    Type,
    attribute_parts,
    class_name,
    filters_of,
    is_true,
    marks_of,
    messages,
    raw,
    shape_of,
    type_of,
)

COMPACT, CONTIGUOUS, CHUNKED = b"\x03\0", b"\x03\x01", b"\x03\x02"  # version 3 of layouts
MEANT = frozenset({b"MATLAB_class", b"MATLAB_empty", b"MATLAB_sparse"})


class Data(NamedTuple):
    """A data set. Its values lie in one piece `at` a place of the file, or in chunks whose index has that address."""

    type: Type
    shape: tuple[int, ...]
    matlab_class: str | None
    is_empty: bool
    at: int
    chunk: tuple[int, ...] = ()  # shape of a chunk
    filters: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


class Group(NamedTuple):
    """A group: addresses of the index and of the names of its members."""

    members: int
    names: int
    matlab_class: str | None
    is_sparse: bool


class Form(NamedTuple):
    """What headers of one kind have in common: bytes under a mask, and how numbers are unpacked from the others."""

    mask: int
    value: int
    numbers: struct.Struct  # dimensions, perhaps their limits, address, size
    like: Data


class Headers:
    """Reads object headers."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._forms: dict[tuple[int, int], list[Form]] = {}

    def read(self, address: int) -> Data | Group:
        """The object whose header is at an address.

        Raises:
            NotPlain: it is left to HDF5's library.
        """
        content = self._content
        at = content.place(address, 16)
        version, count, size = struct.unpack_from("<HH4xI", content.bytes, at)
        if version != 1:
            raise NotPlain("another version of headers")
        start = content.place(address, 16 + size) + 16
        header = content.bytes[start : start + size]
        known = int.from_bytes(header, "little")
        forms = self._forms.setdefault((count, size), [])
        for mask, value, numbers, like in forms:
            if known & mask == value:
                *lengths, place, length = numbers.unpack(header)
                rank = len(like.shape)
                shape = tuple(lengths[:rank])
                if any(map(gt, shape, lengths[rank:])):
                    raise NotPlain(BEYOND_LIMITS)
                return self._in_one_piece(like._replace(shape=shape), place, length)
        places = messages(content, start, size, count)
        found = self._read(places)
        if isinstance(found, Data):
            form = self._form(found, header, start, places)
            if form is not None:
                forms.append(form)
        return found

    def _read(self, places: list[Place]) -> Data | Group:
        content = self._content
        found = {place.kind: place for place in places if place.kind in ONCE}
        if len(found) != sum(place.kind in ONCE for place in places):
            raise NotPlain("two messages of a kind")
        marks = marks_of(content, places)
        name = class_name(marks.get(b"MATLAB_class"))
        if set(found) == {TABLE}:
            members, names = struct.unpack("<QQ", raw(content, found[TABLE], 16))
            return Group(members, names, name, b"MATLAB_sparse" in marks)
        if not {SPACE, TYPE, LAYOUT} <= set(found) <= {SPACE, TYPE, LAYOUT, FILTERS}:
            raise NotPlain("an object that is neither group nor data set")
        stored = type_of(content.bytes[found[TYPE].start : found[TYPE].end])
        data = Data(stored, shape_of(content, found[SPACE]), name, is_true(marks.get(b"MATLAB_empty")), 0)
        layout = found[LAYOUT]
        kind = raw(content, layout, 2)
        if kind == CHUNKED:
            filters = filters_of(content, found[FILTERS], stored.size) if FILTERS in found else ()
            return self._in_chunks(data._replace(filters=filters), layout)
        if kind not in {COMPACT, CONTIGUOUS} or FILTERS in found:
            raise NotPlain("another layout")
        if kind == CONTIGUOUS:
            return self._in_one_piece(data, *struct.unpack_from("<QQ", raw(content, layout, 18), 2))
        (length,) = struct.unpack_from("<H", raw(content, layout, 4), 2)
        if layout.start + 4 + length > layout.end:
            raise NotPlain("compact values outside their message")
        return self._in_one_piece(data, layout.start + 4 - content.base, length)

    def _in_one_piece(self, data: Data, address: int, length: int) -> Data:
        size = data.size * data.type.size
        if not size:
            return data
        if length != size:
            raise NotPlain("values in one piece that is not of their size")
        return data._replace(at=self._content.place(address, size))

    def _in_chunks(self, data: Data, layout: Place) -> Data:
        rank = len(data.shape)
        encoded = raw(self._content, layout, 11 + 4 * (rank + 1))
        address, *chunk = struct.unpack_from(f"<Q{rank + 1}I", encoded, 3)
        if encoded[2] != rank + 1 or not rank or chunk.pop() != data.type.size or min(chunk) < 1:
            raise NotPlain("chunks of another shape")
        return data._replace(at=address, chunk=tuple(chunk))

    def _form(self, data: Data, header: bytes, start: int, places: list[Place]) -> Form | None:
        """What a header has that was read, for others; None unless its values lie in one piece of the file."""
        at = {place.kind: place.start - start for place in places}
        layout = at[LAYOUT] + 2
        if header[layout - 2 : layout] != CONTIGUOUS or CONTINUATION in at:
            return None
        first, count = at[SPACE] + 8, len(data.shape) * (1 + header[at[SPACE] + 2])
        between = layout - first - 8 * count
        if between < 0:
            return None
        free = [(first, first + 8 * count), (layout, layout + 16)]
        for place in places:
            if place.kind in IGNORED:
                free.append((place.start - start, place.end - start))
            elif place.kind == ATTRIBUTE:
                name, (_, _, value) = attribute_parts(self._content, place)
                if name not in MEANT:
                    free.append((place.start + value - start, place.end - start))
        fixed = bytearray(b"\xff" * len(header))
        for begin, end in free:
            fixed[begin:end] = bytes(end - begin)
        mask = int.from_bytes(fixed, "little")
        numbers = struct.Struct(f"<{first}x{count}Q{between}x2Q{len(header) - layout - 16}x")
        return Form(mask, int.from_bytes(header, "little") & mask, numbers, data)
