"""The bytes of an HDF5 file, addressed as its superblock says; the base of a reader that needs no library.

Only what MATLAB writes is read, and only where it can be said for certain; everything else is `NotPlain`, and HDF5's
library reads the file instead. Nothing reads outside the file's bytes, or opens another file.

Format, here and in the modules `hdf5_…`: The HDF Group, HDF5 File Format Specification version 3.0.
"""

import mmap
import struct

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOWHERE = 0xFFFFFFFFFFFFFFFF
PLACES = (0, 512)  # of the superblock: MATLAB writes its own header of 512 bytes before
VERSION_0 = b"\0\0\0\0\0\x08\x08\0"  # of everything; addresses and lengths of eight bytes


class NotPlain(Exception):
    """The file holds something that is left to HDF5's library."""


class Content:
    """The bytes of a file; addresses count from its superblock.

    Raises:
        NotPlain: no superblock of version 0, or one that does not fit the file.
    """

    def __init__(self, content: mmap.mmap) -> None:
        self.bytes = content
        self.base = next((at for at in PLACES if content[at : at + 8] == SIGNATURE), -1)
        if self.base < 0 or len(content) < self.base + 96:
            raise NotPlain("no superblock")
        versions, leaf, inner, flags = struct.unpack_from("<8sHHI", content, self.base + 8)
        base, free, self.end, driver = struct.unpack_from("<4Q", content, self.base + 24)
        if versions != VERSION_0 or flags or not leaf or not inner:
            raise NotPlain("another superblock")
        if base != self.base or (free, driver) != (NOWHERE, NOWHERE) or not self.base < self.end <= len(content):
            raise NotPlain("a superblock that does not fit the file")
        self.root, kind = struct.unpack_from("<QI", content, self.base + 64)
        if kind > 1:
            raise NotPlain("a root that is a link")

    def place(self, address: int, size: int) -> int:
        """Where so many bytes at an address lie in the file."""
        at = self.base + address
        if at + size > self.end:
            raise NotPlain("an address outside the file")
        return at
