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
    if data.chunk == data.shape:
        return piece(content, data, chunks[0]).ravel()
    found = np.empty(data.shape, dtype=data.type.dtype)
    for chunk in chunks:
        starts = chunk[0]
        ends = [min(start + of, length) for start, of, length in zip(starts, data.chunk, data.shape, strict=True)]
        inside = tuple(slice(0, end - start) for start, end in zip(starts, ends, strict=True))
        found[tuple(map(slice, starts, ends))] = piece(content, data, chunk)[inside]
    return found.ravel()


def piece(content: Content, data: Data, chunk: Chunk) -> NDArray[np.generic]:
    """A chunk's values, in its shape."""
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
    if SHUFFLE in data.filters:
        encoded = np.frombuffer(encoded, np.uint8).reshape(data.type.size, -1).T.tobytes()
    return np.frombuffer(encoded, data.type.dtype).reshape(data.chunk)
