"""Arrays of v7.3 files as h5py's own high-level calls read them."""

import h5py
import numpy as np
import pytest

from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.tree import Cells, Numbers, Other, Struct, Text
from batteries.matfiles.v73 import read_v73

VALUES = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def variable(tmp_path):
    """Write a file with one variable ``x``; gives a function that reads its node while the file is open."""

    def do(build, look, **options):
        path = tmp_path / "x.mat"
        with h5py.File(path, "w", **options) as file:
            build(file)
        with read_v73(path) as tree:
            return look(tree.fields["x"][0])

    return do


def numbers(node):
    assert isinstance(node, Numbers)
    return node.shape, node.read().tolist()


class TestNumbers:
    @pytest.mark.parametrize(
        "options", [{}, {"chunks": (2, 3)}, {"compression": 4, "shuffle": True, "fletcher32": True}]
    )
    @pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i2", ">u4", "u1"])
    @pytest.mark.parametrize("userblock", [0, 512])
    def test_are_the_same_wherever_and_however_they_are_kept(self, variable, options, dtype, userblock):
        def build(file):
            file.create_dataset("x", data=VALUES.astype(dtype), **options)

        shape, values = variable(build, numbers, userblock_size=userblock)
        assert shape == (4, 3)  # HDF5 lists dimensions the other way round
        assert values == list(range(12))

    def test_that_lie_in_the_file_as_they_are_cannot_be_changed(self, variable):
        def look(node):
            with pytest.raises(ValueError, match="read-only"):
                node.read()[0] = 1.0

        variable(lambda file: file.create_dataset("x", data=VALUES), look)

    def test_that_were_never_written_are_what_stands_for_them(self, variable):
        made = variable(lambda file: file.create_dataset("x", (2, 1), "f8", fillvalue=3.5), numbers)
        assert made == ((1, 2), [3.5, 3.5])

    def test_logical_values_are_zero_and_one(self, variable):
        def build(file):
            file.create_dataset("x", data=np.array([[1], [0]], dtype="u1")).attrs["MATLAB_class"] = np.bytes_("logical")

        assert variable(build, numbers) == ((1, 2), [1.0, 0.0])

    def test_beyond_the_end_of_the_file_are_damage(self, tmp_path):
        path = tmp_path / "x.mat"
        with h5py.File(path, "w") as file:
            offset = file.create_dataset("x", data=np.arange(5000.0)).id.get_offset()
        content = path.read_bytes()
        place = offset.to_bytes(8, "little") + (40_000).to_bytes(8, "little")
        assert content.count(place) == 1
        moved = (len(content) - 100).to_bytes(8, "little") + (40_000).to_bytes(8, "little")
        path.write_bytes(content.replace(place, moved))
        with pytest.raises(UnreadableFile, match="damaged"), read_v73(path) as tree:
            tree.fields["x"][0].read()


class TestEmpty:
    @pytest.mark.parametrize(
        ("kind", "expected"), [("double", Numbers), ("char", Text), ("cell", Cells), ("struct", Struct)]
    )
    def test_arrays_are_told_by_their_mark_and_hold_nothing(self, variable, kind, expected):
        def build(file):
            data = file.create_dataset("x", data=np.array([0, 0], dtype="u8"))  # the dimensions stand for the values
            data.attrs["MATLAB_class"], data.attrs["MATLAB_empty"] = np.bytes_(kind), np.uint8(1)

        node = variable(build, lambda node: node)
        assert isinstance(node, expected)
        held = {Numbers: lambda: node.size, Text: lambda: len(node.value), Cells: lambda: len(node.items)}
        assert held.get(expected, lambda: node.count)() == 0

    def test_a_mark_that_says_no_leaves_the_values(self, variable):
        def build(file):
            data = file.create_dataset("x", data=np.array([[7], [8]], dtype="u8"))
            data.attrs["MATLAB_class"], data.attrs["MATLAB_empty"] = np.bytes_("uint64"), np.uint8(0)

        assert variable(build, numbers) == ((1, 2), [7.0, 8.0])


class TestOther:
    @pytest.mark.parametrize(
        ("dtype", "kind"),
        [("S5", "text"), ([("real", "f8"), ("imag", "f8")], "complex numbers"), (h5py.vlen_dtype("f8"), "lists"),
         ("V8", "opaque data"), (h5py.regionref_dtype, "references to parts of arrays")],
    )  # fmt: skip
    def test_kinds_are_named(self, variable, dtype, kind):
        node = variable(lambda file: file.create_dataset("x", (3,), dtype=dtype), lambda node: node)
        assert node == Other(kind)
