"""What MATLAB means by the objects of a v7.3 file, whoever reads them."""

from collections.abc import Callable, Iterable

import numpy as np

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.limits import LONGEST_TEXT, MAX_DECLARED_BYTES
from batteries.matfiles.tree import Cells, Node, Numbers, Other, Struct, Text

HIDDEN = ("#refs#", "#subsystem#")
NUMERIC_CLASSES = frozenset(
    {None, "double", "single", "logical"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


class Budget:
    """Counts what is read of a file: references may name one large array many times."""

    def __init__(self) -> None:
        self._bytes = 0

    def take(self, size: int) -> None:
        """Count `size` bytes. Raises UnreadableFile when it is too much."""
        self._bytes += size
        if self._bytes > 2 * MAX_DECLARED_BYTES:
            raise UnreadableFile("the file refers to the same arrays so often that reading it has no end")


def special(kind: str | None, size: int, values: Callable[[], Iterable[int]], *, is_empty: bool) -> Node | None:
    """What MATLAB stores as integers without being numbers (char, empty arrays, objects); None for numbers."""
    if is_empty:
        empty: dict[str, Node] = {"char": Text(""), "cell": Cells(()), "struct": Struct(0, {})}
        return empty.get(kind or "", Numbers((0, 0), lambda: np.empty(0)))
    if kind == "char":
        return Other("long text") if size > LONGEST_TEXT else Text("".join(map(chr, values())))
    return None if kind in NUMERIC_CLASSES else Other(f"MATLAB {kind}")
