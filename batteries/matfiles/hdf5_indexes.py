"""What HDF5's B-trees of version 1 list: the members of a group, and the chunks of a data set.

HDF5 finds members and chunks by the keys of these trees, so keys that would lead it elsewhere are `NotPlain`, too.

Format: III.A, III.B and III.D of the specification.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from operator import ge, mod
from typing import NamedTuple

from batteries.matfiles.hdf5_content import Content, NotPlain
from batteries.matfiles.hdf5_headers import Data, Group

OF_GROUPS, OF_CHUNKS = 0, 1
MOST_LEVELS = 8
LONGEST_NAME = 1024
ENTRY = struct.Struct("<QQI20x")  # of a table of members: where the name lies, the address, what is kept beside

Place = tuple[int, ...]


class Chunk(NamedTuple):
    """The place of a chunk's first value in the array, where the chunk lies in the file, its length there."""

    start: Place
    at: int
    length: int


def members(content: Content, group: Group) -> dict[str, int]:
    """Addresses of a group's members by their names, in alphabetical order.

    Raises:
        NotPlain: soft links, or tables as HDF5's library would not write them.
    """
    heap = content.place(group.names, 32)
    signature, size, start = struct.unpack_from("<8sQ8xQ", content.bytes, heap)
    if signature != b"HEAP\0\0\0\0":
        raise NotPlain("another table of names")
    begin = content.place(start, size)
    names = content.bytes[begin : begin + size]
    found: dict[str, int] = {}
    last = b""
    for table in _leaves(content, group.members, MOST_LEVELS):
        at = content.place(table, 8)
        head, count = struct.unpack_from("<6sH", content.bytes, at)
        if head != b"SNOD\x01\0":
            raise NotPlain("another table of members")
        content.place(table, 8 + 40 * count)
        for offset, address, kept in ENTRY.iter_unpack(content.bytes[at + 8 : at + 8 + 40 * count]):
            end = names.find(b"\0", offset, offset + LONGEST_NAME)
            name = names[offset:end]
            if end < 0 or not last < name or kept > 1 or not name.isascii():
                raise NotPlain("names that are not in order, or a soft link")
            found[name.decode("ascii")] = address
            last = name
    return found


def _leaves(content: Content, address: int, levels: int) -> Iterator[int]:
    """Addresses of the tables of a group's members, in order."""
    at = content.place(address, 24)
    signature, kind, level, used = struct.unpack_from("<4sBBH", content.bytes, at)
    if signature != b"TREE" or kind != OF_GROUPS or level >= levels:
        raise NotPlain("another index of members")
    content.place(address, 32 + 16 * used)
    children = struct.unpack_from("<" + "8xQ" * used, content.bytes, at + 24)
    for child in children:
        if level:
            yield from _leaves(content, child, level)
        else:
            yield child


def chunks(content: Content, data: Data) -> list[Chunk]:
    """All chunks of a data set.

    Raises:
        NotPlain: one was never written, or is not where HDF5 would look for it.
    """
    expected = prod(-(-length // of) for length, of in zip(data.shape, data.chunk, strict=True))
    if not expected or expected > len(content.bytes):
        raise NotPlain("chunks that were not written")
    found: list[Chunk] = []
    width = len(data.shape) + 1
    everywhere = (0,) * width, (2**64,) * width
    for chunk in _chunks(content, data.at, (*data.chunk, data.type.size), MOST_LEVELS, everywhere):
        if len(found) == expected or any(map(ge, chunk.start, data.shape)):
            raise NotPlain("chunks outside the array")
        found.append(chunk)
    if len(found) != expected:
        raise NotPlain("chunks that were not written")
    return found


def _chunks(
    content: Content, address: int, shape: tuple[int, ...], levels: int, between: tuple[Place, Place]
) -> Iterator[Chunk]:
    """The chunks below a node whose keys lie between two others.

    A key is a place and the number of a byte there; `shape` is a chunk's, and the bytes of a value.
    """
    rank = len(shape) - 1
    at = content.place(address, 24)
    signature, kind, level, used = struct.unpack_from("<4sBBH", content.bytes, at)
    key = f"II{rank + 1}Q"
    numbers = struct.Struct("<" + f"{key}Q" * used + key)
    if signature != b"TREE" or kind != OF_CHUNKS or level >= levels or not used:
        raise NotPlain("another index of chunks")
    content.place(address, 24 + numbers.size)
    words = numbers.unpack_from(content.bytes, at + 24)
    step = rank + 4
    keys = [words[first + 2 : first + 3 + rank] for first in range(0, len(words), step)]
    if any(any(map(mod, found, shape)) for found in keys) or any(found[rank] for found in keys[:-1]):
        raise NotPlain("keys between chunks")
    if keys[0] < between[0] or keys[-2] >= between[1] or any(map(ge, keys, keys[1:])):
        raise NotPlain("keys that are not in order")
    for number, (first, after) in enumerate(pairwise(keys)):
        length, mask, child = words[number * step], words[number * step + 1], words[number * step + step - 1]
        if level:
            yield from _chunks(content, child, shape, level, (first, after))
        elif mask:
            raise NotPlain("a chunk that left filters out")
        else:
            yield Chunk(first[:rank], content.place(child, length), length)
