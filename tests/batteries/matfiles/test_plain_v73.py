"""The reader that needs no library beside HDF5's: the same tree of every file that it reads, also of damaged ones."""

import itertools
import mmap

import h5py
import numpy as np
import pytest

from batteries.matfiles import v73
from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.plain_v73 import plain_variables
from batteries.matfiles.tree import Cells, Numbers, Struct
from batteries.matfiles.v73 import read_v73

COMPRESSED = {"compression": 4, "shuffle": True, "fletcher32": True}


def outline(node):
    """All that a tree holds, with the bits of its numbers."""
    if isinstance(node, Struct):
        return node.count, {name: list(map(outline, values)) for name, values in node.fields.items()}
    if isinstance(node, Cells):
        return list(map(outline, node.items))
    if isinstance(node, Numbers):
        return node.shape, node.read().tobytes()
    return node


def plainly(path):
    """The outline without the library; None where it is left to the library."""
    with path.open("rb") as file:
        variables = plain_variables(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return None if variables is None else outline(variables)


@pytest.fixture
def by_the_library(monkeypatch):
    """The outline as the library gives it."""
    monkeypatch.setattr(v73, "plain_variables", lambda content: None)

    def do(path):
        with read_v73(path) as variables:
            return outline(variables)

    return do


def text(group, name, value):
    data = group.create_dataset(name, data=np.array([[ord(letter)] for letter in value], dtype="u2"))
    data.attrs["MATLAB_class"], data.attrs["MATLAB_int_decode"] = np.bytes_("char"), np.int32(2)


def references(file, name, targets, **attributes):
    data = file.create_dataset(name, data=np.array([[target.ref for target in targets]], dtype=h5py.ref_dtype))
    data.attrs.update(attributes)


def as_matlab_writes(file):
    """Structs, a struct array, a cell array, text, empty and logical arrays, complex numbers, chunks of every sort."""
    file.attrs["H5PATH"] = np.bytes_("/")
    kept, cell = file.create_group("#refs#"), file.create_group("cell")
    cell.attrs["MATLAB_class"] = np.bytes_("struct")
    members = []
    for number in range(9):  # more than a table of members has places for
        member = kept.create_dataset(f"m{number}", data=np.arange(number + 3.0).reshape(1, -1))
        member.attrs["MATLAB_class"], member.attrs["H5PATH"] = np.bytes_("double"), np.bytes_("/#refs#")
        members.append(member)
    references(cell, "a", members[:4])
    references(cell, "b", members[4:8])
    references(file, "cells", members[2:], MATLAB_class=np.bytes_("cell"))
    text(file, "name", "B0005")
    text(file, "numbers", "B0005")
    file["numbers"].attrs["MATLAB_class"] = np.bytes_("int8")  # but for this like the text
    for mark, name in enumerate(["full", "empty"]):
        empty = file.create_dataset(name, data=np.array([0, 0], dtype="u8"))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(mark)
    file.create_dataset("flags", data=np.array([[1], [0]], dtype="u1")).attrs["MATLAB_class"] = np.bytes_("logical")
    file.create_dataset("complex", data=np.zeros(3, [("real", "f8"), ("imag", "f8")]))
    values = np.random.default_rng(3).normal(size=(7, 5))
    for number, (name, options) in enumerate(
        {"whole": {}, "pieces": {"chunks": (3, 2)}, "packed": {"chunks": (3, 2), **COMPRESSED},
         "deflated": {"chunks": (7, 5), "compression": 1}}.items()
    ):  # fmt: skip
        file.create_dataset(name, data=values.astype(["f8", "f4", "f8", "i4"][number]), **options)


@pytest.fixture
def matlab_file(tmp_path):
    """A file of every kind of variable that MATLAB writes, after a header of 512 bytes."""
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        as_matlab_writes(file)
    return path


class TestPlain:
    def test_every_kind_of_variable_is_read_as_the_library_reads_it(self, matlab_file, by_the_library):
        read = plainly(matlab_file)
        assert read is not None
        assert read == by_the_library(matlab_file)

    def test_a_real_file_is_read_as_the_library_reads_it(self, nasa, by_the_library):
        read = plainly(nasa("B0006_v73"))
        assert read is not None
        assert read == by_the_library(nasa("B0006_v73"))

    def test_values_without_chunks_stay_where_they_are(self, matlab_file):
        with read_v73(matlab_file) as variables:
            assert not variables.fields["whole"][0].read().flags.owndata


class TestLeftToTheLibrary:
    @pytest.mark.parametrize("options", [{"libver": "latest"}, {"track_order": True}])
    def test_newer_generations_of_the_format(self, tmp_path, options, by_the_library):
        path = tmp_path / "x.mat"
        with h5py.File(path, "w", **options) as file:
            file["x"] = np.arange(3.0)
        assert plainly(path) is None
        assert by_the_library(path) == (1, {"x": [((3,), np.arange(3.0).tobytes())]})

    @pytest.mark.parametrize(
        "options",
        [{"dtype": ">f8"}, {"dtype": "S5"}, {"dtype": h5py.string_dtype()}, {"dtype": bool}, {"compression": "lzf"},
         {"scaleoffset": 3, "dtype": "i4"}, {"chunks": (2,)}, {"fillvalue": 3.5}, {"external": [("x.bin", 0, 40)]}],
        ids=str,
    )  # fmt: skip
    def test_what_matlab_does_not_write(self, tmp_path, options):
        path = tmp_path / "x.mat"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", (5,), **({"dtype": "f8"} | options))
        assert plainly(path) is None

    def test_links_and_references_that_name_no_member(self, tmp_path):
        for number, link in enumerate([h5py.SoftLink("/a"), h5py.ExternalLink("b.h5", "/a")]):
            path = tmp_path / f"{number}.mat"
            with h5py.File(path, "w") as file:
                file["a"] = np.arange(3.0)
                file["b"] = link
            assert plainly(path) is None
        with h5py.File(tmp_path / "r.mat", "w") as file:
            target = file.create_dataset("a", data=np.arange(3.0))
            references(file, "b", [target])
            del file["a"]
        assert plainly(tmp_path / "r.mat") is None

    def test_groups_in_a_circle(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file.create_group("a/b")
            file["a/b/again"] = file["a"]
        assert plainly(tmp_path / "x.mat") is None


class TestDamaged:
    """What is read of a damaged file is what the library reads; it may refuse more, and less is never invented."""

    def damaged(self, content, rng):
        made = bytearray(content)
        for _ in range(rng.integers(1, 3)):
            at = int(rng.integers(512, len(content)))
            made[at] = rng.choice([0, 1, 2, 8, 255, made[at] ^ (1 << int(rng.integers(8)))])
        return bytes(made)

    def test_changed_bytes_never_give_another_tree(self, matlab_file, tmp_path, by_the_library):
        content, rng = matlab_file.read_bytes(), np.random.default_rng(11)
        path, read, refused = tmp_path / "damaged.mat", 0, 0
        for _ in range(300):
            path.write_bytes(self.damaged(content, rng))
            try:
                plain = plainly(path)
            except UnreadableFile:
                refused += 1
                continue
            if plain is None:
                continue
            read += 1
            try:
                assert plain == by_the_library(path)
            except UnreadableFile:
                refused += 1
        assert read > refused > 0

    def test_a_file_cut_short_is_left_to_the_library(self, matlab_file, tmp_path):
        content = matlab_file.read_bytes()
        for length in itertools.chain(range(513, len(content), 487), [len(content) - 1]):
            path = tmp_path / "short.mat"
            path.write_bytes(content[:length])
            assert plainly(path) is None

    def test_inflated_bytes_that_have_not_their_checksum_are_damage(self, tmp_path):
        path = tmp_path / "x.mat"
        with h5py.File(path, "w") as file:
            chunk = file.create_dataset("x", data=np.arange(50.0), chunks=(50,), **COMPRESSED).id.get_chunk_info(0)
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset + chunk.size - 5] ^= 1  # the last byte of zlib's; Fletcher's four come after it
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match="does not inflate"):
            plainly(path)
