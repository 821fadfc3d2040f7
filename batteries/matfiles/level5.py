"""MAT-files of level 5 ("v6" and "v7.0", compressed or not, little or big endian) as a tree.

Read here and not through scipy, which crashes on some damaged files, inflates whatever it is given, and takes longer to
import than this takes to read. Format: The MathWorks, MAT-File Format (R2024a), chapter 1.

An element is a tag (type, number of bytes) and data padded to eight bytes; a small one has up to four bytes of data in
the tag itself. An array is an element of elements: flags, dimensions, name, then what its class needs.
"""

import struct
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.level5_variables import HEADER_BYTES, TAG_BYTES, contents
from batteries.matfiles.limits import LONGEST_TEXT, MAX_DEPTH, MAX_OBJECTS
from batteries.matfiles.tree import Cells, Floats, Lazy, Node, Numbers, Other, Struct, Text

MI_MATRIX = 14
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
CODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
MX_CELL, MX_STRUCT, MX_OBJECT, MX_CHAR, MX_SPARSE = 1, 2, 3, 4, 5
MX_NUMBERS = range(6, 16)
OTHER_CLASSES = {MX_OBJECT: "object", MX_SPARSE: "sparse matrix", 16: "function handle", 17: "object"}
COMPLEX_FLAG = 0x0800
OUTSIDE = "the MAT-file is damaged: an element lies outside its variable"
# Words of nearly every array inside a struct or cell: its tag, flags, two dimensions, no name.
USUAL_START = (MI_MATRIX, 6, 8, 5, 8, 1, 0)
USUAL_BYTES = 48

Element = tuple[int, int, int, int]  # kind, where its data starts, its length, where the next element begins


def read_level5(file: Arriving) -> Struct:
    """The variables of a file as the fields of one struct. Arrays are decoded when they are asked for.

    Raises:
        UnreadableFile: damaged, or larger inflated than the limits allow; what is asked for later may raise it too.
    """
    variables: dict[str, Node] = {}
    order = "<" if file.read(0, HEADER_BYTES)[126:] == b"IM" else ">"
    for content in contents(file, order):
        variable = _Variable(content, order)
        kind, start, length, _ = variable.element(0)
        if kind == MI_MATRIX and length:
            name = variable.name(start)
            if name:
                variables[name] = variable.node(0, 1)
    return Struct(1, {name: (variables[name],) for name in sorted(variables)})


class _Variable:
    """Bytes of one variable, and the elements in them."""

    def __init__(self, content: bytes | memoryview, order: str) -> None:
        self._content = memoryview(content).toreadonly()
        self._order = order
        self._pair = struct.Struct(f"{order}II").unpack_from
        self._usual = struct.Struct(f"{order}8I2i2I").unpack_from
        self._dtypes = {kind: np.dtype(order + name) for kind, name in NUMBER_TYPES.items()}
        self._names: dict[bytes, tuple[dict[str, int], int]] = {}

    def element(self, at: int) -> Element:
        """The element whose tag begins at a place.

        Raises:
            UnreadableFile: it is not inside the variable.
        """
        try:
            kind, length = self._pair(self._content, at)
        except struct.error:
            raise UnreadableFile(OUTSIDE) from None
        start = at + TAG_BYTES
        if kind < 0x10000:
            end = start + length
            fits = end <= len(self._content)
            end += -length % 8
        else:  # small: the length is in the upper half, the data in the second half of the tag
            kind, length, start, end = kind & 0xFFFF, kind >> 16, at + 4, start
            fits = length <= TAG_BYTES // 2
        if not fits:
            raise UnreadableFile("the MAT-file is damaged: an element is longer than its variable")
        return kind, start, length, end

    def _integer(self, code: str, at: int) -> int:
        try:
            (value,) = struct.unpack_from(self._order + code, self._content, at)
        except struct.error:
            raise UnreadableFile(OUTSIDE) from None
        return int(value)

    def name(self, start: int) -> str:
        """Name of the variable, whose array's data starts there."""
        flags = self.element(start)
        return self._bytes(self.element(self.element(flags[3])[3]))[:LONGEST_TEXT].decode("latin-1")

    def node(self, at: int, depth: int) -> Node:
        """The array whose tag begins at a place, as a node of the tree."""
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"structs and cells are nested deeper than {MAX_DEPTH}")
        words = self._usual(self._content, at) if at + USUAL_BYTES <= len(self._content) else ()
        if words and (words[0], words[2], words[3], words[6], words[7], words[10], words[11]) == USUAL_START:
            packed, shape, after, end = words[4], words[8:10], at + USUAL_BYTES, at + TAG_BYTES + words[1]
            if end > len(self._content):
                raise UnreadableFile(OUTSIDE)
        else:
            kind, start, length, _ = self.element(at)
            if kind != MI_MATRIX:
                raise UnreadableFile("the MAT-file is damaged: there is no array where one should be")
            if not length:
                return Numbers((0, 0), lambda: np.empty(0))
            flags = self.element(start)
            packed, shape, after, end = self._integer("I", flags[1]), (), 0, start + length
            if packed & 0xFF not in OTHER_CLASSES:
                dimensions = self.element(flags[3])
                shape = tuple(self._numbers(dimensions).astype(np.int64).tolist())
                after = self.element(dimensions[3])[3]  # past the name
        if packed & 0xFF in OTHER_CLASSES:
            return Other(f"MATLAB {OTHER_CLASSES[packed & 0xFF]}")
        return self._content_of(packed, shape, after, end, depth)

    def _content_of(self, packed: int, shape: tuple[int, ...], at: int, end: int, depth: int) -> Node:
        """What an array holds, by its class; it lies from `at` to `end`."""
        if len(shape) < 2 or min(shape) < 0:
            raise UnreadableFile("the MAT-file is damaged: an array has impossible dimensions")
        kind, count = packed & 0xFF, prod(shape)
        if kind in MX_NUMBERS:
            return (
                Other("complex numbers") if packed & COMPLEX_FLAG else Numbers(shape, partial(self._values, at, count))
            )
        if kind == MX_CELL:
            return Cells(Lazy(self._arrays(at, end, count), partial(self.node, depth=depth + 1)))
        if kind == MX_STRUCT:
            return self._struct(at, end, count, depth)
        if kind == MX_CHAR:
            return self._text(self.element(at)) if count <= LONGEST_TEXT else Other("long text")
        raise UnreadableFile(f"the MAT-file is damaged: there is no array class {kind}")

    def _arrays(self, at: int, end: int, count: int) -> list[int]:
        """Where so many arrays begin that lie one after the other inside another, which ends at `end`."""
        if count > MAX_OBJECTS:
            raise UnreadableFile(f"the file holds more than {MAX_OBJECTS} arrays")
        places, pair, content = [], self._pair, self._content
        end = min(end, len(content))
        for _ in range(count):
            if at + TAG_BYTES > end:
                raise UnreadableFile("the MAT-file is damaged: a cell or struct array ends too early")
            places.append(at)
            kind, length = pair(content, at)
            at += TAG_BYTES if kind > 0xFFFF else TAG_BYTES + length + -length % 8
        return places

    def _struct(self, at: int, end: int, count: int, depth: int) -> Struct | Other:
        """A struct array: field names of one fixed length, then all fields of its first element, of its second, …."""
        width = self.element(at)
        spelled = self.element(width[3])
        raw = self._bytes(width) + self._bytes(spelled)
        known = self._names.get(raw)
        if known is None:
            known = self._names[raw] = self._field_names(width, spelled)
        names, stride = known
        if not names:
            return Other("struct without fields")
        values = self._arrays(spelled[3], end, count * stride)
        node = partial(self.node, depth=depth + 1)
        return Struct(count, {name: Lazy(values[at::stride], node) for name, at in names.items()})

    def _field_names(self, width: Element, spelled: Element) -> tuple[dict[str, int], int]:
        """Names of a struct's fields in alphabetical order with their places, and the number of places."""
        length = self._integer("i", width[1])
        raw = self._bytes(spelled)
        if length <= 0 or len(raw) % length:
            raise UnreadableFile("the MAT-file is damaged: a struct's field names have no length")
        names = [raw[at : at + length].split(b"\0")[0].decode("latin-1") for at in range(0, len(raw), length)]
        return dict(sorted((name, at) for at, name in enumerate(names))), len(names)

    def _text(self, data: Element) -> Text:
        if data[0] in CODINGS:
            endian = "" if data[0] == 16 else "-le" if self._order == "<" else "-be"
            return Text(self._bytes(data).decode(CODINGS[data[0]] + endian, "replace"))
        return Text("".join(chr(code) for code in self._numbers(data).tolist() if 0 <= code <= 0xFFFF))

    def _values(self, at: int, count: int) -> Floats:
        """Numbers as float64, read-only: where the file has them as such they are not copied."""
        values = self._numbers(self.element(at))
        if values.size != count:
            raise UnreadableFile(f"the MAT-file is damaged: an array of {count} numbers holds {values.size}")
        return values.astype(np.float64, copy=False)

    def _numbers(self, data: Element) -> NDArray[np.generic]:
        dtype = self._dtypes.get(data[0])
        if dtype is None or data[2] % dtype.itemsize:
            raise UnreadableFile("the MAT-file is damaged: numbers of no known type")
        return np.frombuffer(self._content, dtype, data[2] // dtype.itemsize, data[1])

    def _bytes(self, data: Element) -> bytes:
        return bytes(self._content[data[1] : data[1] + data[2]])
