"""Messages of HDF5's object headers (version 1): types, data spaces, filters, and what MATLAB says in attributes.

Format: IV.A of the specification; filters' own settings: The HDF Group, HDF5 Filters.
"""

import struct
from operator import gt
from typing import NamedTuple

from batteries.matfiles.hdf5_content import Content, NotPlain
from batteries.matfiles.limits import LONGEST_CLASS

EMPTY, SPACE, TYPE, OLD_FILL, FILL, LAYOUT, FILTERS, ATTRIBUTE = 0x0, 0x1, 0x3, 0x4, 0x5, 0x8, 0xB, 0xC
OLD_MODIFIED, CONTINUATION, TABLE, MODIFIED = 0xE, 0x10, 0x11, 0x12
IGNORED = frozenset({EMPTY, OLD_FILL, FILL, MODIFIED, OLD_MODIFIED})  # fill values: all values are there
ONCE = frozenset({SPACE, TYPE, LAYOUT, FILTERS, TABLE})
KNOWN = IGNORED | ONCE | {ATTRIBUTE, CONTINUATION}
FLOATS = {  # as HDF5 encodes its IEEE types, the lowest byte first
    bytes.fromhex("11203f000800000000004000340b0034ff030000"): "<f8",
    bytes.fromhex("11201f000400000000002000170800177f000000"): "<f4",
}
REFERENCES = bytes.fromhex("1700000008000000")
COMPOUNDS = (b"\x16", b"\x26", b"\x36")
TEXT = b"\x13"
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
VALUES_OF = {DEFLATE: 1, SHUFFLE: 1, FLETCHER32: 0}
PIPELINES = {(DEFLATE,), (SHUFFLE, DEFLATE), (DEFLATE, FLETCHER32), (SHUFFLE, DEFLATE, FLETCHER32)}
MOST_DIMENSIONS = 32
MOST_MESSAGES = 1000
BEYOND_LIMITS = "more values than there may be"


class Place(NamedTuple):
    """Where a message's content lies: from `start` to `end` in the file, and `at` in its header's blocks together."""

    kind: int
    start: int
    end: int
    at: int


class Type(NamedTuple):
    """What values are: `numbers` and `references` with a dtype of numpy, or `compound`; `size` bytes each."""

    kind: str
    size: int
    dtype: str = ""


class Mark(NamedTuple):
    """An attribute of MATLAB's: its type, its data space and its value as they are encoded."""

    type: bytes
    space: bytes
    value: bytes


def messages(content: Content, start: int, size: int, count: int) -> list[Place]:
    """All messages of a header whose first block lies there, those of its continuations after those before.

    Raises:
        NotPlain: messages of other kinds, shared ones, or another number of them.
    """
    blocks, places, before = [(start, start + size)], list[Place](), 0
    for begin, end in blocks:  # grows
        at = begin
        while at < end:
            if at + 8 > end or len(places) == MOST_MESSAGES:
                raise NotPlain("a header that does not end with a message")
            kind, length, flags, reserved = struct.unpack_from("<HHB3s", content.bytes, at)
            place = Place(kind, at + 8, at + 8 + length, before + at + 8 - begin)
            if place.end > end or flags > 1 or length % 8 or reserved != b"\0\0\0" or kind not in KNOWN:
                raise NotPlain("a message of another kind, shared, or longer than its header")
            if kind == CONTINUATION:
                address, block = struct.unpack("<QQ", raw(content, place, 16))
                first = content.place(address, block)
                blocks.append((first, first + block))
            places.append(place)
            at = place.end
        before += end - begin
    if len(places) != count:
        raise NotPlain("a header with another number of messages")
    return places


def raw(content: Content, place: Place, length: int) -> bytes:
    """The first bytes of a message."""
    if place.start + length > place.end:
        raise NotPlain("a message that is too short")
    return content.bytes[place.start : place.start + length]


def shape_of(content: Content, place: Place) -> tuple[int, ...]:
    """The dimensions of a data space; they begin eight bytes after it, and their limits follow where it has a flag."""
    version, rank, flags = raw(content, place, 8)[:3]
    if version != 1 or rank > MOST_DIMENSIONS or flags > 1:
        raise NotPlain("another data space")
    numbers = rank * (1 + flags)
    found = struct.unpack_from(f"<{numbers}Q", raw(content, place, 8 + 8 * numbers), 8)
    if any(map(gt, found[:rank], found[rank:])):
        raise NotPlain(BEYOND_LIMITS)
    return found[:rank]


def type_of(stored: bytes) -> Type:
    """A type as it is encoded."""
    for known, dtype in FLOATS.items():
        if stored.startswith(known):
            return Type("numbers", int(dtype[2]), dtype)
    if stored.startswith(REFERENCES):
        return Type("references", 8, "<u8")
    if stored.startswith(COMPOUNDS) and len(stored) >= 8:
        return Type("compound", int.from_bytes(stored[4:8], "little"))
    return integers(stored)


def integers(stored: bytes) -> Type:
    """Whole numbers that fill their bytes, the lowest first."""
    if len(stored) < 12:
        raise NotPlain("another type")
    head, flags, bits, size, first, precision = struct.unpack_from("<BBHIHH", stored)
    if head != 0x10 or flags & ~0x08 or bits or first or size not in {1, 2, 4, 8} or precision != 8 * size:
        raise NotPlain("another type")
    return Type("numbers", size, f"<{'i' if flags else 'u'}{size}")


def filters_of(content: Content, place: Place, item: int) -> tuple[int, ...]:
    """Numbers of the filters in the order of writing: shuffle, deflate and Fletcher's checksum, not all of them."""
    version, count = raw(content, place, 8)[:2]
    if version != 1 or count > len(VALUES_OF):
        raise NotPlain("other filters")
    at, found = 8, list[int]()
    for _ in range(count):
        number, name, flags, values = struct.unpack_from("<4H", raw(content, place, at + 8), at)
        if name % 8 or flags > 1 or values != VALUES_OF.get(number):
            raise NotPlain("other filters, or with other settings")
        first = at + 8 + name
        at = first + 8 * values
        settings = raw(content, place, at)[first:]
        if number == SHUFFLE and settings[:4] != item.to_bytes(4, "little"):
            raise NotPlain("bytes shuffled for values of another size")
        found.append(number)
    if tuple(found) not in PIPELINES:
        raise NotPlain("other filters")
    return tuple(found)


def attribute_parts(content: Content, place: Place) -> tuple[bytes, list[int]]:
    """An attribute's name, and where its type, its data space and its value begin in the message."""
    version, *lengths = struct.unpack("<Bx3H", raw(content, place, 8))
    starts = [8]
    for length in lengths:
        starts.append(starts[-1] + length + -length % 8)
    name = raw(content, place, starts[-1])[8 : 8 + lengths[0]]
    if version != 1 or len(name) < 2 or name.find(b"\0") != len(name) - 1:
        raise NotPlain("another version of attributes")
    return name[:-1], starts[1:]


def marks_of(content: Content, places: list[Place]) -> dict[bytes, Mark]:
    """An object's attributes by their names."""
    marks: dict[bytes, Mark] = {}
    for place in places:
        if place.kind == ATTRIBUTE:
            name, (of_type, of_space, of_value) = attribute_parts(content, place)
            if name in marks:
                raise NotPlain("two attributes of a name")
            whole = content.bytes[place.start : place.end]
            marks[name] = Mark(whole[of_type:of_space], whole[of_space:of_value], whole[of_value:])
    return marks


def class_name(mark: Mark | None) -> str | None:
    """What MATLAB calls an object's class; None where nothing says so."""
    if mark is None:
        return None
    if not mark.type.startswith(TEXT) or len(mark.type) < 8 or mark.type[2:4] != b"\0\0" or not is_one(mark.space):
        raise NotPlain("a class that is not a text")
    length = int.from_bytes(mark.type[4:8], "little")
    if not 0 < length <= min(LONGEST_CLASS, len(mark.value)):
        raise NotPlain("a class that is longer than its message")
    return mark.value[:length].rstrip(b"\0").decode("ascii", "replace")


def is_true(mark: Mark | None) -> bool:
    """Whether there is a mark that does not say zero."""
    if mark is None:
        return False
    size = integers(mark.type).size
    if not is_one(mark.space) or len(mark.value) < size:
        raise NotPlain("a mark that is not a number")
    return any(mark.value[:size])


def is_one(space: bytes) -> bool:
    """Whether an attribute's data space has one value."""
    if len(space) < 8 or space[0] != 1 or space[2] > 1:
        return False
    return space[1] == 0 or (space[1] == 1 and space[8:16] == (1).to_bytes(8, "little"))
