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
CONTINUED = struct.pack("<HH", CONTINUATION, 16)
LONGEST_BLOCK = 64 * 1024
OTHER_CHUNKS = "chunks of another shape"
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
    """What headers of one kind have in common: bytes under a mask, and where numbers are in the others."""

    continued: tuple[int, ...]  # where addresses and lengths of further blocks are
    mask: int
    value: int
    numbers: struct.Struct  # of data sets dimensions, perhaps their limits, then the layout's; of groups both addresses
    like: Data | Group


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
        block = content.bytes[start : start + size]
        forms = self._forms.setdefault((count, size), [])
        continued, header, known = None, b"", 0
        for form in forms:
            if form.continued != continued:
                continued, header = form.continued, self._whole(block, form.continued)
                known = int.from_bytes(header, "little")
            if known & form.mask == form.value and len(header) == form.numbers.size:
                return self._alike(form.like, form.numbers.unpack(header))
        places = messages(content, start, size, count)
        found = self._read(places)
        made = self._form(found, block, places)
        if made is not None:
            forms.append(made)
        return found

    def _whole(self, header: bytes, continued: tuple[int, ...]) -> bytes:
        """A header's blocks together, if it is continued there; less where that cannot be."""
        for at in continued:
            if header[at - 8 : at - 4] != CONTINUED or at + 16 > len(header):
                break
            address, length = struct.unpack_from("<QQ", header, at)
            if length > LONGEST_BLOCK:
                break
            first = self._content.place(address, length)
            header += self._content.bytes[first : first + length]
        return header

    def _alike(self, like: Data | Group, numbers: tuple[int, ...]) -> Data | Group:
        if isinstance(like, Group):
            return Group(numbers[0], numbers[1], like.matlab_class, like.is_sparse)
        rank = len(like.shape)
        shape, others = numbers[:rank], numbers[rank:]
        after = len(others) - (1 + rank if like.chunk else 2)
        if any(map(gt, shape, others[:after])):
            raise NotPlain(BEYOND_LIMITS)
        if not like.chunk:
            at = self._piece(prod(shape) * like.type.size, others[after], others[after + 1])
            return Data(like.type, shape, like.matlab_class, like.is_empty, at)
        if 0 in others[after + 1 :]:
            raise NotPlain(OTHER_CHUNKS)
        return Data(
            like.type, shape, like.matlab_class, like.is_empty, others[after], others[after + 1 :], like.filters
        )

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
        return data._replace(at=self._piece(data.size * data.type.size, address, length))

    def _piece(self, size: int, address: int, length: int) -> int:
        """Where values lie in one piece."""
        if not size:
            return 0
        if length != size:
            raise NotPlain("values in one piece that is not of their size")
        return self._content.place(address, size)

    def _in_chunks(self, data: Data, layout: Place) -> Data:
        rank = len(data.shape)
        encoded = raw(self._content, layout, 11 + 4 * (rank + 1))
        address, *chunk = struct.unpack_from(f"<Q{rank + 1}I", encoded, 3)
        if encoded[2] != rank + 1 or not rank or chunk.pop() != data.type.size or min(chunk) < 1:
            raise NotPlain(OTHER_CHUNKS)
        return data._replace(at=address, chunk=tuple(chunk))

    def _form(self, found: Data | Group, block: bytes, places: list[Place]) -> Form | None:
        """What a header has that was read, for others; None where it cannot be said with one format."""
        continued = tuple(place.at for place in places if place.kind == CONTINUATION)
        header = self._whole(block, continued)
        at = {place.kind: place.at for place in places}
        if isinstance(found, Group):
            free = [(at[TABLE], "2Q")]
        else:
            limited = header[at[SPACE] + 2]
            layouts = {CONTIGUOUS: (2, "2Q"), CHUNKED: (3, f"Q{len(found.shape)}I")}
            layout = layouts.get(header[at[LAYOUT] : at[LAYOUT] + 2])
            if layout is None or at[LAYOUT] < at[SPACE]:
                return None
            free = [(at[SPACE] + 8, f"{len(found.shape) * (1 + limited)}Q"), (at[LAYOUT] + layout[0], layout[1])]
        fixed, numbers, done = bytearray(b"\xff" * len(header)), "<", 0
        for begin, code in free:
            end = begin + struct.calcsize(f"<{code}")
            fixed[begin:end] = bytes(end - begin)
            numbers += f"{begin - done}x{code}"
            done = end
        for place in places:
            begin, end = self._without_meaning(place)
            fixed[begin:end] = bytes(end - begin)
        mask = int.from_bytes(fixed, "little")
        form = struct.Struct(f"{numbers}{len(header) - done}x")
        return Form(continued, mask, int.from_bytes(header, "little") & mask, form, found)

    def _without_meaning(self, place: Place) -> tuple[int, int]:
        """From where to where in a header a message says nothing of what its object is."""
        end = place.at + place.end - place.start
        if place.kind in IGNORED:
            return place.at, end
        if place.kind == CONTINUATION:
            return place.at, place.at + 8  # its length stays
        if place.kind == ATTRIBUTE:
            name, (_, _, value) = attribute_parts(self._content, place)
            if name not in MEANT:
                return place.at + value, end
        return end, end
