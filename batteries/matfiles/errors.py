"""Why a MAT-file could not become a Recording.

MatFileError
├── UnreadableFile   not a MAT-file, damaged, or beyond the limits
├── NoCycles         a MAT-file, but none of the layouts that are read
└── SeveralCells     several cells, and none (or one that is not there) was chosen
"""


class MatFileError(Exception):
    """The file cannot be read as a battery; the message is for the person who gave it."""


class UnreadableFile(MatFileError):
    """Not a MAT-file of level 5 or v7.3, damaged, or larger inside than the limits allow."""


class NoCycles(MatFileError):
    """A sound MAT-file in which no battery cycles were recognised."""


class SeveralCells(MatFileError):
    """The file holds several cells and the caller has to choose one.

    `cells` are their names in the order of their 0-based numbers.
    """

    def __init__(self, message: str, cells: tuple[str, ...]) -> None:
        super().__init__(message, cells)
        self.cells = cells

    def __str__(self) -> str:
        return str(self.args[0])
