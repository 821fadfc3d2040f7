"""Every array of a file as scipy reads it: the same tree found another way."""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.level5 import read_level5
from batteries.matfiles.tree import Cells, Numbers, Other, Struct, Text


def assert_same(node, expected):
    match node:
        case Struct(count=count, fields=fields):
            assert (count, sorted(expected.dtype.names)) == (expected.size, list(fields))
            for name, column in fields.items():
                for member, other in zip(column, expected.ravel(order="F")[name], strict=True):
                    assert_same(member, other)
        case Cells(items=items):
            for member, other in zip(items, expected.ravel(order="F"), strict=True):
                assert_same(member, other)
        case Numbers(shape=shape):
            assert shape == expected.shape
            assert np.array_equal(node.read(), expected.ravel(order="F").astype(np.float64), equal_nan=True)
        case Text(value=value):
            assert value == "".join(expected.ravel())
        case Other():
            assert not isinstance(expected, np.ndarray) or expected.dtype.kind == "c"


VARIABLES = {
    "matrix": np.arange(12.0).reshape(3, 4),
    "cube": np.arange(24.0).reshape(2, 3, 4),
    "empty": np.empty((0, 3)),
    "logical": np.array([[True, False]]),
    **{kind: np.array([[0, 1, 100]], dtype=kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4")},
    "complex": np.array([[1 + 2j]]),
    "text": "a cell — 25 °C",
    "cells": np.array([["one", np.eye(2)], [np.array([]), "two"]], dtype=object),
    "struct": {"a": 1.0, "b": {"c": "deep", "d": np.arange(3)}},
    "a_name_that_is_longer_than_eight_bytes": 1.0,
}


class TestTree:
    @pytest.mark.parametrize("compressed", [True, False])
    def test_every_kind_of_array_is_as_scipy_reads_it(self, tmp_path, compressed):
        savemat(tmp_path / "x.mat", VARIABLES, do_compression=compressed)
        tree, expected = read_level5(Arriving(tmp_path / "x.mat")), loadmat(tmp_path / "x.mat")
        assert list(tree.fields) == sorted(VARIABLES)
        for name in VARIABLES:
            assert_same(tree.fields[name][0], expected[name])

    @pytest.mark.parametrize("cell", ["B0029", "B0050"])
    def test_every_array_of_a_real_file_is_as_scipy_reads_it(self, nasa, cell):
        tree, expected = read_level5(Arriving(nasa(cell))), loadmat(nasa(cell))
        assert_same(tree.fields[cell][0], expected[cell])

    def test_an_array_that_declares_more_numbers_than_it_holds_is_refused(self, tmp_path):
        savemat(tmp_path / "x.mat", {"v": np.arange(10.0)}, do_compression=False)
        content = (tmp_path / "x.mat").read_bytes()
        dimensions = np.array([1, 10], dtype="<i4").tobytes()
        assert content.count(dimensions) == 1
        (tmp_path / "x.mat").write_bytes(content.replace(dimensions, np.array([1, 10**9], dtype="<i4").tobytes()))
        with pytest.raises(UnreadableFile, match="1000000000 numbers holds 10"):
            read_level5(Arriving(tmp_path / "x.mat")).fields["v"][0].read()

    def test_fields_of_one_name_are_one_field_and_the_others_keep_their_values(self, tmp_path):
        savemat(tmp_path / "x.mat", {"s": {"aaa": 1.0, "bbb": 2.0, "ccc": 3.0}}, do_compression=False)
        content = (tmp_path / "x.mat").read_bytes()
        assert content.count(b"bbb") == 1
        (tmp_path / "x.mat").write_bytes(content.replace(b"bbb", b"aaa"))
        fields = read_level5(Arriving(tmp_path / "x.mat")).fields["s"][0].element(0)
        assert {name: fields[name].read().tolist() for name in fields} == {"aaa": [2.0], "ccc": [3.0]}


class TestInflating:
    @pytest.mark.parametrize("piece", [1, 7, 64, 1000])
    def test_pieces_of_any_size_give_the_same_numbers(self, tmp_path, monkeypatch, piece):
        numbers = np.random.default_rng(0).normal(size=3000).round(2)
        savemat(tmp_path / "x.mat", {"v": numbers, "w": np.zeros(5000)}, do_compression=True)
        monkeypatch.setattr("batteries.matfiles.level5_variables.PIECE_BYTES", piece)
        tree = read_level5(Arriving(tmp_path / "x.mat"))
        assert np.array_equal(tree.fields["v"][0].read(), numbers)
        assert np.array_equal(tree.fields["w"][0].read(), np.zeros(5000))

    def test_numbers_that_the_file_has_as_they_are_cannot_be_changed(self, tmp_path):
        savemat(tmp_path / "x.mat", {"v": np.arange(10.0)}, do_compression=True)
        with pytest.raises(ValueError, match="read-only"):
            read_level5(Arriving(tmp_path / "x.mat")).fields["v"][0].read()[0] = 1.0

    def test_what_all_variables_declare_is_summed_before_any_is_inflated(self, tmp_path, monkeypatch):
        savemat(tmp_path / "x.mat", {name: np.zeros(1000) for name in "abc"}, do_compression=True)
        monkeypatch.setattr("batteries.matfiles.level5_variables.MAX_DECLARED_BYTES", 20_000)
        monkeypatch.setattr("batteries.matfiles.level5_variables._inflate", None)
        with pytest.raises(UnreadableFile, match="declares 0 MB"):
            read_level5(Arriving(tmp_path / "x.mat"))
