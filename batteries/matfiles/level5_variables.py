"""The variables of a MAT-file of level 5 as the bytes of their arrays, inflated while the file arrives.

Each has a tag (type, number of bytes) and is an array, or the array deflated.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.limits import MAX_DECLARED_BYTES

HEADER_BYTES = 128
TAG_BYTES = 8
PIECE_BYTES = 256 * 1024  # of compressed data at a time: the file is never in memory as a whole
PEEK_BYTES = 1024  # of a compressed variable, for the tag inside
MI_COMPRESSED = 15
NO_END = "the MAT-file is damaged: a compressed variable has no end"
INSIDE = "the MAT-file is damaged: it ends inside a variable"


class Place(NamedTuple):
    """Where a variable lies: its type, where its tag and its data are in the file, bytes of its array with its tag."""

    kind: int
    at: int
    length: int
    declared: int


def contents(file: Arriving, order: str) -> Iterator[bytes | memoryview]:
    """The array of each variable with its tag.

    What variables declare is summed before any is inflated; of a file that is still arriving, what those declare that
    have begun to.

    Raises:
        UnreadableFile: damaged, or larger inflated than the limits allow.
    """
    places = _places(file, order)
    for place in list(places) if file.complete else places:
        if place.kind == MI_COMPRESSED:
            yield _inflate(file, place)
        else:
            yield file.read(place.at, place.declared)


def _places(file: Arriving, order: str) -> Iterator[Place]:
    """The variables in the order of the file; compressed ones before they have arrived."""
    at, declared = HEADER_BYTES, 0
    while file.has(at + TAG_BYTES):
        head = file.read(at, PEEK_BYTES)
        kind, length = struct.unpack_from(f"{order}II", head)
        place = Place(kind, at, length, TAG_BYTES + length)
        at += TAG_BYTES + length
        if (file.complete or kind != MI_COMPRESSED) and not file.has(at):
            raise UnreadableFile(INSIDE)
        if kind == MI_COMPRESSED:
            with _said_of_the_file():
                tag = isal_zlib.decompressobj().decompress(head[TAG_BYTES : TAG_BYTES + length], TAG_BYTES)
            if len(tag) < TAG_BYTES:
                raise UnreadableFile(NO_END)
            place = place._replace(declared=TAG_BYTES + struct.unpack(f"{order}II", tag)[1])
        declared += place.declared
        if declared > MAX_DECLARED_BYTES:
            limit = MAX_DECLARED_BYTES / 1e6
            raise UnreadableFile(
                f"the file declares {declared / 1e6:.0f} MB of arrays; at most {limit:.0f} MB are read"
            )
        yield place
    if file.size() != at:
        raise UnreadableFile("the MAT-file is damaged: it ends inside a tag" if file.size() > at else INSIDE)


def _inflate(file: Arriving, place: Place) -> memoryview:
    """The array of a compressed variable.

    Raises:
        UnreadableFile: damaged, or not of the length that it declares.
    """
    stream = isal_zlib.decompressobj()
    inflated = np.empty(place.declared, dtype=np.uint8).data  # unlike bytes, in pages of 2 MB: faster by a fifth
    begin, end = place.at + TAG_BYTES, place.at + TAG_BYTES + place.length
    at = 0
    with _said_of_the_file():
        while not stream.eof:
            piece = file.read(begin, min(PIECE_BYTES, end - begin))
            begin += len(piece)
            got = stream.decompress(piece, place.declared - at + 1)
            if at + len(got) > place.declared:
                raise UnreadableFile("the MAT-file is damaged: a compressed variable holds more than it declares")
            if not (got or piece):
                raise UnreadableFile(NO_END if begin == end else INSIDE)
            inflated[at : at + len(got)] = got
            at += len(got)
    if at < place.declared:
        raise UnreadableFile("the MAT-file is damaged: a compressed variable holds less than it declares")
    return inflated


@contextmanager
def _said_of_the_file() -> Iterator[None]:
    """Errors of inflating as errors of the file."""
    try:
        yield
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub has a variable there
        raise UnreadableFile(f"the MAT-file is damaged: {error}") from error
    except MemoryError:
        raise UnreadableFile("the file needs more memory than parsing may use") from None
