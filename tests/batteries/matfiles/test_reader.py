"""Hostile and broken files: whatever lies in the file, the answer is a MatFileError."""

import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from batteries.matfiles import limits
from batteries.matfiles.errors import MatFileError, NoCycles, UnreadableFile
from batteries.matfiles.reader import read
from batteries.samples import synthetic_cell

LEVEL_5_HEADER = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM"


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a.txt", "hello")
    return buffer.getvalue()


NOT_MAT_FILES = {
    "empty": b"",
    "one byte": b"M",
    "text": b"cycle,voltage\n1,3.7\n" * 100,
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(300),
    "zip": archive(),
    "pickle": pickle.dumps({"voltage": [3.7] * 200}),
    "random": np.random.default_rng(0).bytes(5000),
    "level 4": struct.pack("<5i", 0, 1, 1, 0, 2) + b"x\x00" + struct.pack("<d", 1.0),
    "header alone": LEVEL_5_HEADER[:100],
    "header and random bytes": LEVEL_5_HEADER + np.random.default_rng(1).bytes(5000),
    "HDF5 signature and random bytes": b"\x89HDF\r\n\x1a\n" + np.random.default_rng(2).bytes(5000),
}


def small_cell():
    cell = synthetic_cell(cycles=3)
    return {
        "cycles": [
            {"cycle_index": float(c.index), "time_s": c.time_s, "voltage_V": c.voltage_v, "current_A": c.current_a}
            for c in cell.cycles
        ]
    }


class TestNotMatFiles:
    @pytest.mark.parametrize("kind", NOT_MAT_FILES)
    def test_are_unreadable(self, tmp_path, kind):
        path = tmp_path / "battery.mat"
        path.write_bytes(NOT_MAT_FILES[kind])
        with pytest.raises(UnreadableFile):
            read(path)

    def test_the_message_says_what_they_are(self, tmp_path):
        path = tmp_path / "battery.mat"
        path.write_bytes(NOT_MAT_FILES["PNG"])
        with pytest.raises(UnreadableFile, match="PNG image"):
            read(path)

    def test_a_level_5_file_without_variables_has_no_cycles(self, tmp_path):
        path = tmp_path / "battery.mat"
        path.write_bytes(LEVEL_5_HEADER)
        with pytest.raises(NoCycles, match="no variables"):
            read(path)


class TestDamage:
    def test_a_file_cut_off_anywhere_is_a_mat_file_error(self, write_mat, tmp_path):
        whole = write_mat(tmp_path / "whole.mat", small_cell()).read_bytes()
        path = tmp_path / "cut.mat"
        for length in np.linspace(0, len(whole) - 1, 30).astype(int):
            path.write_bytes(whole[:length])
            try:
                read(path)
            except MatFileError:
                continue
            pytest.fail(f"cut to {length} of {len(whole)} bytes, the file still reads")

    def test_bytes_changed_anywhere_are_a_recording_or_a_mat_file_error(self, write_mat, tmp_path):
        whole = bytearray(write_mat(tmp_path / "whole.mat", small_cell()).read_bytes())
        path = tmp_path / "changed.mat"
        random = np.random.default_rng(0)
        refused = 0
        for _ in range(60):
            changed = whole.copy()
            at = int(random.integers(0, len(whole) - 8))
            changed[at : at + 8] = random.bytes(8)
            path.write_bytes(changed)
            try:
                read(path)
            except MatFileError:
                refused += 1
        assert refused


class TestLimits:
    def test_a_level_5_file_that_declares_more_than_is_read_is_refused_unread(self, tmp_path):
        inner = struct.pack("<II", 14, limits.MAX_DECLARED_BYTES + 1) + bytes(1000)
        packed = zlib.compress(inner)
        path = tmp_path / "bomb.mat"
        path.write_bytes(LEVEL_5_HEADER + struct.pack("<II", 15, len(packed)) + packed)
        with pytest.raises(UnreadableFile, match="at most 1074 MB are read"):
            read(path)

    def test_a_level_5_file_that_inflates_to_more_than_it_declares_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("batteries.matfiles.level5_variables.MAX_DECLARED_BYTES", 10_000_000)
        packed = zlib.compress(struct.pack("<II", 14, 1000) + bytes(100_000_000))
        path = tmp_path / "liar.mat"
        path.write_bytes(LEVEL_5_HEADER + struct.pack("<II", 15, len(packed)) + packed)
        tracemalloc.start()
        with pytest.raises(UnreadableFile, match="more than it declares"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50_000_000

    def test_an_hdf5_file_that_declares_8_tb_is_refused_unread(self, tmp_path):
        path = tmp_path / "huge.mat"
        with h5py.File(path, "w") as file:
            file.create_dataset("V", shape=(10**12,), dtype="f8", chunks=(1024,))
        with pytest.raises(UnreadableFile, match="declares 8000000 MB"):
            read(path)

    def test_a_small_file_that_names_one_array_without_end_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("batteries.matfiles.special.MAX_DECLARED_BYTES", 1_000_000)
        path = tmp_path / "again.mat"
        with h5py.File(path, "w") as file:
            target = file.create_dataset("#refs#/a", data=np.ones(50_000))
            cells = np.array([target.ref] * 500, dtype=h5py.ref_dtype)
            file.create_dataset("V", data=cells, dtype=h5py.ref_dtype)
            file.create_dataset("I", data=cells, dtype=h5py.ref_dtype)
        with pytest.raises(UnreadableFile, match="same arrays so often"):
            read(path)


class TestHostileHdf5:
    """HDF5 can name other files; none of it may be followed."""

    def refuse(self, path, match):
        with pytest.raises(UnreadableFile, match=match):
            read(path)

    def test_external_storage(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(b"root:x:0:0" * 10)
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file.create_dataset("V", shape=(100,), dtype="u1", external=[(str(secret), 0, 100)])
        self.refuse(tmp_path / "x.mat", "external storage")

    def test_virtual_data_sets(self, tmp_path):
        with h5py.File(tmp_path / "source.h5", "w") as file:
            file["d"] = np.arange(10.0)
        layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "d", shape=(10,))
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file.create_virtual_dataset("V", layout)
        self.refuse(tmp_path / "x.mat", "virtual")

    @pytest.mark.parametrize("link", [h5py.SoftLink("/V"), h5py.ExternalLink("other.h5", "/d")])
    def test_soft_and_external_links_also_deep_inside(self, tmp_path, link):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file["V"] = np.arange(10.0)
            file.create_group("#refs#/deep")["I"] = link
        self.refuse(tmp_path / "x.mat", "soft or external links")

    def test_groups_in_a_circle(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            group = file.create_group("a")
            group["again"] = group
        self.refuse(tmp_path / "x.mat", "linked twice")

    def test_deep_nesting(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file.create_group("/".join("g" * 40))
        self.refuse(tmp_path / "x.mat", "nested deeper")

    def test_references_in_a_circle_are_never_followed_without_end(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            cells = file.create_dataset("V", (1, 1), dtype=h5py.ref_dtype)
            cells[0, 0] = cells.ref
            file["I"] = cells
        with pytest.raises(MatFileError):
            read(tmp_path / "x.mat")

    def test_filters_that_would_load_a_plugin(self, tmp_path):
        with h5py.File(tmp_path / "x.mat", "w") as file:
            file.create_dataset("V", data=np.arange(100.0), compression="lzf")
        self.refuse(tmp_path / "x.mat", "filter")


class TestOtherContents:
    def test_objects_complex_numbers_and_sparse_matrices_are_passed_over(self, tmp_path, writers):
        variables = small_cell() | {"spectrum": np.array([1 + 2j]), "note": "a note", "flag": np.array([True])}
        recordings = [read(write(tmp_path / f"{kind}.mat", variables)) for kind, write in writers.items()]
        assert recordings[0] == recordings[1]
        assert len(recordings[0]) == 3

    def test_big_endian_files_read_the_same(self, tmp_path):
        """A file by hand: one flat record of two cycles, as a big-endian machine writes it."""
        number = np.repeat([1.0, 2.0], 40)
        current = np.tile(np.repeat([1.0, -1.0], 20), 2)
        voltage = np.tile(np.append(np.linspace(3.0, 4.0, 20), np.linspace(3.9, 2.9, 20)), 2)
        elements = b"".join(
            big_endian(name, values) for name, values in {"cycle": number, "I": current, "V": voltage}.items()
        )
        path = tmp_path / "big.mat"
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x01\x00MI" + elements)
        recording = read(path)
        assert [cycle.index for cycle in recording.cycles] == [1, 2]
        assert recording.cycles[1].voltage_v == pytest.approx(voltage[:40])


def big_endian(name, values):
    """One double matrix element of a level 5 file (MAT-File Format, chapter 1): flags, dimensions, name, real part."""
    padded = name.encode() + bytes(-len(name) % 8)
    parts = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, len(values))
    parts += struct.pack(">II", 1, len(name)) + padded
    parts += struct.pack(">II", 9, 8 * len(values)) + values.astype(">f8").tobytes()
    return struct.pack(">II", 14, len(parts)) + parts
