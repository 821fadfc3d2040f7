"""MAT-files of v7.3 as a tree; they are HDF5, and h5py's low-level calls read them (six times faster by reference).

Every object is looked at before any array is read. HDF5 can name other files (external storage, virtual data sets,
external links), declare terabytes in a small file and point in circles: what MATLAB never writes is refused.
"""

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5r, h5s, h5t

from batteries.matfiles.errors import MatFileError, UnreadableFile
from batteries.matfiles.limits import LONGEST_CLASS, MAX_DECLARED_BYTES, MAX_DEPTH, MAX_OBJECTS
from batteries.matfiles.plain_v73 import plain_variables
from batteries.matfiles.special import HIDDEN, Budget, special
from batteries.matfiles.tree import Cells, Floats, Lazy, Node, Numbers, Other, Struct

KNOWN_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})
KINDS = {
    h5t.COMPOUND: "complex numbers",
    h5t.STRING: "text",
    h5t.REFERENCE: "references to parts of arrays",
    h5t.VLEN: "lists",
    h5t.OPAQUE: "opaque data",
    h5t.ARRAY: "arrays of arrays",
    h5t.BITFIELD: "bits",
    h5t.TIME: "times",
}
UNNAMED = "class without a name"


@contextmanager
def read_v73(path: Path) -> Iterator[Struct]:
    """The variables of a file as the fields of one struct, readable while the context lasts.

    Raises:
        UnreadableFile: damaged, beyond the limits, or with links, storage or filters that MATLAB never writes.
    """
    try:
        content = _mapped(path)
        plain = plain_variables(content)
        if plain is not None:
            yield plain
            return
        file = h5f.open(bytes(path), h5f.ACC_RDONLY)
        try:
            root = h5g.open(file, b"/")
            _inspect(root)
            yield _File(root, content).variables()
        finally:
            file.close()
    except MatFileError:
        raise
    except MemoryError:
        raise UnreadableFile("the file needs more memory than parsing may use") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        raise UnreadableFile(f"the MAT-file (v7.3) is damaged: {str(error)[:200]}") from error


def _mapped(path: Path) -> mmap.mmap:
    """The file's bytes, in memory only where they are looked at."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _inspect(root: Any) -> None:
    """Walk every object of the file and refuse what must not be read.

    Raises:
        UnreadableFile: see `read_v73`.
    """
    declared = 0
    objects = 0
    waiting: list[tuple[Any, int]] = [(root, 0)]
    seen = {h5o.get_info(root).addr}
    while waiting:
        group, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"groups are nested deeper than {MAX_DEPTH}")
        for name in _hard_links(group):
            objects += 1
            if objects > MAX_OBJECTS:
                raise UnreadableFile(f"the file holds more than {MAX_OBJECTS} objects")
            member = h5o.open(group, name)
            if isinstance(member, h5d.DatasetID):
                declared += _declared_bytes(member)
                if declared > MAX_DECLARED_BYTES:
                    raise UnreadableFile(
                        f"the file declares {declared / 1e6:.0f} MB of arrays; "
                        f"at most {MAX_DECLARED_BYTES / 1e6:.0f} MB are read"
                    )
            elif isinstance(member, h5g.GroupID):
                address = h5o.get_info(member).addr
                if address in seen:
                    raise UnreadableFile("a group of the file is linked twice")
                seen.add(address)
                waiting.append((member, depth + 1))


def _hard_links(group: Any) -> list[bytes]:
    """Names of a group's members, none of which may be a soft or an external link."""
    names: list[bytes] = []
    kinds: set[int] = set()

    def note(name: bytes, info: Any) -> None:
        names.append(name)
        kinds.add(info.type)

    group.links.iterate(note, info=True)
    if kinds - {h5l.TYPE_HARD}:
        raise UnreadableFile("the file holds soft or external links, which MAT-files do not have")
    return names


def _declared_bytes(data: Any) -> int:
    """Bytes that reading a data set takes.

    Raises:
        UnreadableFile: its values lie in another file, or need a filter that is not HDF5's own.
    """
    if data.get_offset() is not None:  # in one piece in this very file
        return int(data.get_storage_size())
    made = data.get_create_plist()
    layout = made.get_layout()
    if layout == h5d.VIRTUAL:
        raise UnreadableFile("the file holds a virtual data set, whose values lie in other files")
    if layout == h5d.CONTIGUOUS and made.get_external_count():
        raise UnreadableFile("the file holds a data set with external storage, whose values lie in other files")
    item = data.get_type().get_size()
    if layout == h5d.CHUNKED:
        for at in range(made.get_nfilters()):
            if made.get_filter(at)[0] not in KNOWN_FILTERS:
                raise UnreadableFile("the file holds a data set with a filter that MATLAB does not write")
        if _product(made.get_chunk()) * item > MAX_DECLARED_BYTES:
            raise UnreadableFile("the file declares a chunk larger than may be read")
    return _product(data.shape) * int(item)


def _product(lengths: Sequence[int] | None) -> int:
    return 0 if lengths is None else math.prod(int(length) for length in lengths)


def _matlab_class(owner: Any) -> str | None:
    """What MATLAB calls an object's class; None where nothing says so."""
    if not h5a.exists(owner, b"MATLAB_class"):
        return None
    attribute = h5a.open(owner, b"MATLAB_class")
    stored = attribute.get_type()
    if stored.get_class() != h5t.STRING or stored.is_variable_str() or not 0 < stored.get_size() <= LONGEST_CLASS:
        return UNNAMED
    if attribute.get_space().get_simple_extent_npoints() != 1:
        return UNNAMED
    name = np.empty((), dtype=f"S{stored.get_size()}")
    attribute.read(name, stored)
    return name.item().decode("ascii", "replace")  # type: ignore[no-any-return]


def _is_marked_empty(data: Any) -> bool:
    if not h5a.exists(data, b"MATLAB_empty"):
        return False
    attribute = h5a.open(data, b"MATLAB_empty")
    if attribute.get_type().get_class() != h5t.INTEGER or attribute.get_space().get_simple_extent_npoints() != 1:
        return True
    value = np.empty((1,), dtype=np.int64)
    attribute.read(value)
    return bool(value[0])


class _File:
    """Makes nodes of objects."""

    def __init__(self, root: Any, content: mmap.mmap) -> None:
        self._root = root
        self._content = content
        self._budget = Budget()

    def variables(self) -> Struct:
        names = [name for name in map(bytes.decode, _hard_links(self._root)) if name not in HIDDEN]
        return Struct(1, {name: Lazy([name], self._member(self._root, 1)) for name in names})

    def _member(self, group: Any, depth: int) -> Callable[[str], Node]:
        return lambda name: self._node(h5o.open(group, name.encode()), depth)

    def _referred(self, depth: int) -> Callable[[Any], Node]:
        def node(reference: Any) -> Node:
            found = h5r.dereference(reference, self._root) if reference else None
            return Other("an empty reference") if found is None else self._node(found, depth)

        return node

    def _node(self, owner: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"structs and cells are nested deeper than {MAX_DEPTH}")
        if isinstance(owner, h5g.GroupID):
            return self._struct(owner, depth)
        if isinstance(owner, h5d.DatasetID):
            return self._data(owner, depth)
        return Other("a named type")

    def _struct(self, group: Any, depth: int) -> Node:
        kind = _matlab_class(group)
        if kind not in {None, "struct"} or h5a.exists(group, b"MATLAB_sparse"):
            return Other(f"MATLAB {kind}")
        names = [name.decode() for name in _hard_links(group)]
        first = h5o.open(group, names[0].encode()) if names else None
        if first is None or not _is_struct_column(first):
            return Struct(1, {name: Lazy([name], self._member(group, depth + 1)) for name in names})
        count = _product(first.shape)
        return Struct(count, {name: self._column(group, name, count, depth) for name in names})

    def _column(self, group: Any, name: str, count: int, depth: int) -> Sequence[Node]:
        column = h5o.open(group, name.encode())
        if not _is_struct_column(column) or _product(column.shape) != count:
            raise UnreadableFile(f"the field {name[:63]} has not as many values as its struct array")
        return Lazy(_References(self, column), self._referred(depth + 1))

    def _data(self, data: Any, depth: int) -> Node:
        _declared_bytes(data)  # a reference may name what no group does
        stored = data.get_type()
        if stored == h5t.IEEE_F64LE:  # nearly all of the arrays
            return Numbers(data.shape[::-1] if data.shape is not None else (0, 0), partial(self._floats, data, stored))
        if stored == h5t.STD_REF_OBJ:
            return Cells(Lazy(_References(self, data), self._referred(depth + 1)))
        kind = stored.get_class()
        if kind not in {h5t.INTEGER, h5t.FLOAT, h5t.ENUM}:
            return Other(KINDS.get(kind, "values of another kind"))
        if kind == h5t.INTEGER:
            values = partial(self.values, data)
            found = special(_matlab_class(data), _product(data.shape), values, is_empty=_is_marked_empty(data))
            if found is not None:
                return found
        if data.dtype.kind not in "biuf":
            return Other(f"{data.dtype.name} array")
        return Numbers(data.shape[::-1] if data.shape is not None else (0, 0), partial(self._floats, data, stored))

    def _floats(self, data: Any, stored: Any) -> Floats:
        """All values of a data set as x(:); read-only where they lie in the file as they are."""
        offset = data.get_offset()
        if offset is None or stored != h5t.IEEE_F64LE:
            return self.values(data).astype(np.float64, copy=False)  # type: ignore[no-any-return]
        count = data.get_storage_size() // 8
        self._budget.take(8 * count)
        return np.frombuffer(self._content, "<f8", count, offset)

    def values(self, data: Any) -> Any:
        """All values of a data set as x(:), of the type that it has."""
        self._budget.take(_product(data.shape) * data.dtype.itemsize)
        if data.shape is None:
            return np.empty(0)
        values = np.empty(data.shape, dtype=data.dtype)
        if values.size:
            data.read(h5s.ALL, h5s.ALL, values)
        return values.ravel()


def _is_struct_column(owner: Any) -> bool:
    """Whether this is a struct array's field: references without the class that a cell array has."""
    if not isinstance(owner, h5d.DatasetID) or owner.get_type() != h5t.STD_REF_OBJ:
        return False
    return _matlab_class(owner) is None


class _References(Sequence[Any]):
    """The references of a cell array or of a struct array's field, read when the first is asked for."""

    def __init__(self, file: _File, data: Any) -> None:
        self._file = file
        self._data = data
        self._values: Any = None

    def __len__(self) -> int:
        return _product(self._data.shape)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if self._values is None:
            self._values = self._file.values(self._data)
        return self._values[at]
