import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from batteries.matfiles.arriving import Arriving
from batteries.matfiles.errors import UnreadableFile
from batteries.matfiles.level5 import read_level5
from batteries.matfiles.level5_variables import contents


class Sender:
    """Writes a file's bytes in pieces, the next one whenever the reader waits."""

    def __init__(self, path: Path, pieces: list[bytes]) -> None:
        self.path, self.pieces, self.waits = path, iter(pieces), 0
        path.write_bytes(b"")

    def is_complete(self, _within_s: float) -> bool:
        self.waits += 1
        piece = next(self.pieces, None)
        if piece is None:
            return True
        with self.path.open("ab") as file:
            file.write(piece)
        return False


@pytest.fixture
def arriving(tmp_path) -> Iterator:
    """A file whose pieces come when they are waited for."""
    files = []

    def do(pieces: list[bytes]) -> Arriving:
        sender = Sender(tmp_path / "arriving.mat", pieces)
        files.append(Arriving(sender.path, sender.is_complete))
        return files[-1]

    yield do
    for file in files:
        file.close()


def split(content: bytes, length: int) -> list[bytes]:
    return [content[at : at + length] for at in range(0, len(content), length)]


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def mat(tmp_path, request) -> bytes:
    """A file of three variables, the second of 400 kB."""
    noise = np.random.default_rng(0).normal(size=(50_000, 1))
    savemat(tmp_path / "x.mat", {"a": np.eye(3), "b": noise, "c": "text"}, do_compression=request.param)
    return (tmp_path / "x.mat").read_bytes()


class TestArriving:
    def test_bytes_that_are_there_are_not_waited_for(self, tmp_path):
        sender = Sender(tmp_path / "x", [b"abcdef"])
        file = Arriving(sender.path, sender.is_complete)
        assert (file.read(1, 3), sender.waits) == (b"bcd", 1)
        file.close()

    def test_bytes_that_are_not_there_are_waited_for(self, arriving):
        file = arriving([b"ab", b"cd", b"ef"])
        assert file.read(3, 2) == b"de"
        assert not file.complete

    def test_what_never_comes_is_not_there(self, arriving):
        file = arriving([b"ab", b"cd"])
        assert (file.has(4), file.has(5), file.read(3, 9), file.size()) == (True, False, b"d", 4)

    def test_the_size_is_that_of_the_whole_file(self, arriving):
        assert arriving([b"ab", b"", b"cde"]).size() == 5

    def test_a_file_is_complete_unless_something_else_is_said(self, tmp_path):
        (tmp_path / "x").write_bytes(b"abc")
        file = Arriving(tmp_path / "x")
        assert (file.complete, file.size(), file.read(2, 5)) == (True, 3, b"c")
        file.close()

    def test_another_thread_may_write_it(self, tmp_path):
        written, done = tmp_path / "x", threading.Event()
        written.write_bytes(b"")
        content = bytes(range(256)) * 64

        def write() -> None:
            with written.open("ab", buffering=0) as file:
                for piece in split(content, 1000):
                    file.write(piece)
            done.set()

        file = Arriving(written, done.wait)
        writer = threading.Thread(target=write)
        writer.start()
        assert file.read(0, 10**6) == content
        writer.join()
        file.close()


class TestLevel5WhileItArrives:
    @pytest.mark.parametrize("length", [997, 20_000, 300_000])
    def test_it_is_what_it_is_when_it_has_arrived(self, arriving, mat, tmp_path, length):
        found, expected = read_level5(arriving(split(mat, length))), loadmat(tmp_path / "x.mat")
        assert list(found.fields) == ["a", "b", "c"]
        np.testing.assert_array_equal(found.fields["b"][0].read(), expected["b"][:, 0])
        assert found.fields["c"][0].value == "text"

    def test_variables_are_read_before_those_after_them_have_come(self, arriving, mat):
        file = arriving(split(mat, 1000))
        variables = contents(file, "<")
        next(variables), next(variables)
        assert not file.complete

    @pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.5, 0.9, 0.9999])
    def test_a_file_that_breaks_off_is_damaged(self, arriving, mat, share):
        with pytest.raises(UnreadableFile, match="damaged"):
            read_level5(arriving(split(mat[: 129 + int(share * (len(mat) - 129))], 5000)))

    def test_what_is_declared_is_summed_before_it_is_inflated(self, arriving, mat, monkeypatch):
        monkeypatch.setattr("batteries.matfiles.level5_variables.MAX_DECLARED_BYTES", 300_000)
        file = arriving(split(mat, 1000))
        with pytest.raises(UnreadableFile, match="at most"):
            read_level5(file)
        assert not file.complete
