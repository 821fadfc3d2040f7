"""Values of HDF5's data sets from the bytes of the file: in one piece, or in chunks that were shuffled and deflated."""

from math import prod

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.hdf5_content import Content
from batteries.matfiles.hdf5_headers import Data
from batteries.matfiles.hdf5_indexes import Chunk
from batteries.matfiles.hdf5_messages import DEFLATE, FLETCHER32, SHUFFLE

DAMAGED = "the MAT-file (v7.3) is damaged: a compressed piece of an array"


def values(content: Content, data: Data, chunks: list[Chunk]) -> NDArray[np.generic]:
    """All values of a data set (N,) in the file's order, of the type that it has; read-only where they are not copied.

    Raises:
        UnreadableFile: a chunk does not inflate to its size, or has not the checksum of its inflated bytes.
    """
    if not data.chunk:
        return np.frombuffer(content.bytes, data.type.dtype, data.size, data.at)
    found = np.empty(data.shape, dtype=data.type.dtype)
    single = found.view(np.uint8).reshape(*data.shape, data.type.size)  # bytes of the values
    shuffled, last = SHUFFLE in data.filters, (*range(1, len(data.shape) + 1), 0)
    for chunk in chunks:
        place = tuple([slice(start, start + of) for start, of in zip(chunk.start, data.chunk, strict=True)])
        encoded = inflated(content, data, chunk)
        if shuffled:  # first bytes of all values, then second ones, …
            of_values = np.frombuffer(encoded, np.uint8).reshape(data.type.size, *data.chunk)
            fill(single[place], of_values.transpose(last))
        else:
            fill(found[place], np.frombuffer(encoded, data.type.dtype).reshape(data.chunk))
    return found.ravel()


def fill(part: NDArray[np.generic], values: NDArray[np.generic]) -> None:
    """Fill a part of an array, which ends before its last chunk's values may."""
    part[...] = values if part.shape == values.shape else values[tuple(map(slice, part.shape))]


def inflated(content: Content, data: Data, chunk: Chunk) -> bytes:
    """A chunk's bytes."""
    _, at, length = chunk
    expected = prod(data.chunk) * data.type.size
    encoded = content.bytes[at : at + length]
    if FLETCHER32 in data.filters:
        encoded = encoded[:-4]  # not computed: what is inflated has a checksum of its own, which is
    if DEFLATE in data.filters:
        stream = isal_zlib.decompressobj()
        try:
            encoded = stream.decompress(encoded, expected + 1)
        except isal_zlib.IsalError:  # type: ignore[misc]  # its stub has a variable there
            raise UnreadableFile(f"{DAMAGED} does not inflate") from None
        if not stream.eof:
            raise UnreadableFile(f"{DAMAGED} has no end")
    if len(encoded) != expected:
        raise UnreadableFile(f"{DAMAGED} is not of its size")
    return encoded
