"""MAT-files of level 5 ("v6" and "v7.0", compressed or not, little or big endian) as a tree.

Read here and not through scipy, which crashes on some damaged files, inflates whatever it is given, and takes longer to
import than this takes to read. Format: The MathWorks, MAT-File Format (R2024a), chapter 1.

An element is a tag (type, number of bytes) and data padded to eight bytes; a small one has up to four bytes of data in
the tag itself. An array is an element of elements: flags, dimensions, name, then what its class needs.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.limits import MAX_DECLARED_BYTES, MAX_DEPTH
from batteries.matfiles.tree import Cells, Floats, Lazy, Node, Numbers, Other, Struct, Text

HEADER_BYTES = 128
TAG_BYTES = 8
MI_MATRIX, MI_COMPRESSED = 14, 15
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
CODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
MX_CELL, MX_STRUCT, MX_OBJECT, MX_CHAR, MX_SPARSE = 1, 2, 3, 4, 5
MX_NUMBERS = range(6, 16)
OTHER_CLASSES = {MX_OBJECT: "object", MX_SPARSE: "sparse matrix", 16: "function handle", 17: "object"}
COMPLEX_FLAG = 0x0800
LONGEST_TEXT = 4096


@dataclass(frozen=True)
class Element:
    """Where an element's data lies in the buffer."""

    kind: int
    start: int
    length: int
    end: int  # where the next element begins


def read_level5(path: Path) -> Struct:
    """The variables of a file as the fields of one struct. Arrays are decoded when they are asked for.

    Raises:
        UnreadableFile: damaged, or larger inflated than the limits allow; what is asked for later may raise it too.
    """
    content = path.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    variables: dict[str, Node] = {}
    for buffer in _variables(content, order):
        array = buffer.element(0)
        if array.kind == MI_MATRIX and array.length:
            name = buffer.name(array)
            if name:
                variables[name] = buffer.node(array, 1)
    return Struct(1, {name: (variables[name],) for name in sorted(variables)})


def _variables(content: bytes, order: str) -> Iterator["_Buffer"]:
    """A buffer with the one array of each variable, inflated."""
    whole = _Buffer(content, order)
    left = MAX_DECLARED_BYTES
    at = HEADER_BYTES
    while at + TAG_BYTES <= len(content):
        kind, length = whole.unpack("II", at)
        end = at + TAG_BYTES + length
        if end > len(content):
            raise UnreadableFile("the MAT-file is damaged: it ends inside a variable")
        if kind == MI_COMPRESSED:
            inflated = _inflate(content[at + TAG_BYTES : end], left, order)
            left -= len(inflated)
            yield _Buffer(inflated, order)
        else:
            yield _Buffer(content[at:end], order)
        at = end
    if at != len(content):
        raise UnreadableFile("the MAT-file is damaged: it ends inside a tag")


def _inflate(compressed: bytes, at_most: int, order: str) -> bytes:
    """The inflated bytes of a variable, which is not begun where its tag declares more than `at_most` bytes.

    Raises:
        UnreadableFile: damaged, or more than `at_most` bytes.
    """
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(compressed, TAG_BYTES)
        if len(inflated) == TAG_BYTES and struct.unpack(f"{order}II", inflated)[1] <= at_most:
            inflated += stream.decompress(stream.unconsumed_tail, at_most - TAG_BYTES + 1)
            too_large = len(inflated) > at_most
        else:
            too_large = len(inflated) == TAG_BYTES
    except zlib.error as error:
        raise UnreadableFile(f"the MAT-file is damaged: {error}") from error
    except MemoryError:
        raise UnreadableFile("the file needs more memory than parsing may use") from None
    if too_large:
        raise UnreadableFile(f"the file's arrays need more than the {MAX_DECLARED_BYTES / 1e6:.0f} MB that are read")
    if not stream.eof:
        raise UnreadableFile("the MAT-file is damaged: a compressed variable has no end")
    return inflated


class _Buffer:
    """Bytes of one variable, and the elements in them."""

    def __init__(self, content: bytes, order: str) -> None:
        self._content = content
        self._order = order

    def unpack(self, what: str, at: int) -> tuple[int, ...]:
        """Integers at a place.

        Raises:
            UnreadableFile: the place is outside the buffer.
        """
        try:
            return struct.unpack_from(self._order + what, self._content, at)
        except struct.error:
            raise UnreadableFile("the MAT-file is damaged: an element lies outside its variable") from None

    def element(self, at: int) -> Element:
        """The element whose tag begins at a place."""
        kind, length = self.unpack("II", at)
        if kind >> 16:  # small: the length is in the upper half, the data in the second half of the tag
            found = Element(kind & 0xFFFF, at + 4, kind >> 16, at + TAG_BYTES)
            fits = found.length <= TAG_BYTES // 2
        else:
            start = at + TAG_BYTES
            found = Element(kind, start, length, start + length + -length % 8)
            fits = start + length <= len(self._content)
        if not fits:
            raise UnreadableFile("the MAT-file is damaged: an element is longer than its variable")
        return found

    def name(self, array: Element) -> str:
        """Name of a variable."""
        dimensions = self.element(self.element(array.start).end)
        name = self.element(dimensions.end)
        return self._bytes(name)[:LONGEST_TEXT].decode("latin-1")

    def node(self, array: Element, depth: int) -> Node:
        """An array as a node of the tree."""
        if array.kind != MI_MATRIX:
            raise UnreadableFile("the MAT-file is damaged: there is no array where one should be")
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"structs and cells are nested deeper than {MAX_DEPTH}")
        if not array.length:
            return Numbers((0, 0), lambda: np.empty(0))
        flags = self.element(array.start)
        (packed,) = self.unpack("I", flags.start)
        if packed & 0xFF in OTHER_CLASSES:
            return Other(f"MATLAB {OTHER_CLASSES[packed & 0xFF]}")
        return self._content_of(array, packed, self.element(flags.end), depth)

    def _content_of(self, array: Element, packed: int, dimensions: Element, depth: int) -> Node:
        """What an array holds, by its class."""
        kind = packed & 0xFF
        after = self.element(dimensions.end).end  # past the name
        shape = tuple(int(length) for length in self._numbers(dimensions))
        if len(shape) < 2 or min(shape) < 0:
            raise UnreadableFile("the MAT-file is damaged: an array has impossible dimensions")
        count = math.prod(shape)
        if kind == MX_CELL:
            return Cells(Lazy(list(self._arrays(after, array, count)), partial(self.node, depth=depth + 1)))
        if kind == MX_STRUCT:
            return self._struct(array, after, count, depth)
        if kind == MX_CHAR:
            return self._text(self.element(after)) if count <= LONGEST_TEXT else Other("long text")
        if kind not in MX_NUMBERS:
            raise UnreadableFile(f"the MAT-file is damaged: there is no array class {kind}")
        if packed & COMPLEX_FLAG:
            return Other("complex numbers")
        return Numbers(shape, partial(self._values, after, count))

    def _arrays(self, at: int, owner: Element, count: int) -> Iterator[Element]:
        """So many arrays one after the other inside another."""
        for _ in range(count):
            if at + TAG_BYTES > owner.start + owner.length:
                raise UnreadableFile("the MAT-file is damaged: a cell or struct array ends too early")
            array = self.element(at)
            yield array
            at = array.end

    def _struct(self, array: Element, at: int, count: int, depth: int) -> Struct:
        """A struct array: field names of one fixed length, then all fields of its first element, of its second, …."""
        width = self.element(at)
        spelled = self.element(width.end)
        (length,) = self.unpack("i", width.start)
        raw = self._bytes(spelled)
        if length <= 0 or len(raw) % length:
            raise UnreadableFile("the MAT-file is damaged: a struct's field names have no length")
        names = [raw[at : at + length].split(b"\0")[0].decode("latin-1") for at in range(0, len(raw), length)]
        values = list(self._arrays(spelled.end, array, count * len(names)))
        node = partial(self.node, depth=depth + 1)
        columns = {name: Lazy(values[at :: len(names)], node) for at, name in enumerate(names)}
        return Struct(count, {name: columns[name] for name in sorted(columns)})

    def _text(self, data: Element) -> Text:
        if data.kind in CODINGS:
            endian = "" if data.kind == 16 else "-le" if self._order == "<" else "-be"
            return Text(self._bytes(data).decode(CODINGS[data.kind] + endian, "replace"))
        return Text("".join(chr(code) for code in self._numbers(data).tolist() if 0 <= code <= 0xFFFF))

    def _values(self, at: int, count: int) -> Floats:
        values = self._numbers(self.element(at))
        if values.size != count:
            raise UnreadableFile(f"the MAT-file is damaged: an array of {count} numbers holds {values.size}")
        return values.astype(np.float64)

    def _numbers(self, data: Element) -> NDArray[np.generic]:
        dtype = np.dtype(self._order + NUMBER_TYPES[data.kind]) if data.kind in NUMBER_TYPES else None
        if dtype is None or data.length % dtype.itemsize:
            raise UnreadableFile("the MAT-file is damaged: numbers of no known type")
        return np.frombuffer(self._content, dtype, data.length // dtype.itemsize, data.start)

    def _bytes(self, data: Element) -> bytes:
        return self._content[data.start : data.start + data.length]
