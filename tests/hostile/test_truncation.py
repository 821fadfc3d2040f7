"""Files cut off anywhere are refused; never is it the server's fault."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import scipy.io

PLACES = 200
AT_ONCE = 2


@pytest.fixture
def cut_everywhere(api):
    """Upload what a function makes of each of so many lengths; nothing is left of any of it."""

    def do(cut, whole: int, places: int) -> set[str]:
        before, memory = api.kept(), api.resident()
        lengths = np.linspace(0, whole - 1, places).astype(int).tolist()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda length: api.upload(cut(length)), lengths))
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {
            (400, "INVALID_FILE_FORMAT")
        }
        assert api.kept() == before
        assert api.resident() - memory < 20 * 2**20
        return {answer.json()["error"]["details"][0]["issue"] for answer in answers}

    return do


@pytest.fixture(scope="module")
def real(request):
    """A real file where there is one, else one of ours."""
    try:
        return request.getfixturevalue("nasa")("B0050").read_bytes()
    except pytest.skip.Exception:
        return request.getfixturevalue("small_cell")(request.getfixturevalue("tmp_path_factory").mktemp("own"))


@pytest.fixture(scope="module")
def whole():
    half = 20
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        volts = np.concatenate([np.linspace(3.0, 4.1, half), np.linspace(4.0, 2.8, half)])
        columns = {"V": volts, "I": np.repeat([1.0, -1.0], half), "t": np.linspace(0.0, 7200.0, 2 * half)}
        for name, values in columns.items():
            cells = file.create_dataset(name, (20, 1), dtype=h5py.ref_dtype)
            for number in range(20):
                options = {"compression": 4, "shuffle": True} if number % 2 else {}
                cells[number, 0] = file.create_dataset(f"#refs#/{name}{number}", data=values, **options).ref
    return buffer.getvalue()


class TestLevel5:
    def test_a_file_at_200_places(self, cut_everywhere, real):
        assert cut_everywhere(lambda length: real[:length], len(real), PLACES)

    def test_the_stream_inside_a_variable_that_says_it_is_whole(self, cut_everywhere, real):
        def cut(length: int) -> bytes:
            return real[:128] + struct.pack("<II", 15, length) + real[136 : 136 + length]

        said = cut_everywhere(cut, len(real) - 136, 40)
        assert any("has no end" in reason for reason in said)

    def test_the_arrays_inside_a_stream_that_is_whole(self, cut_everywhere, real):
        inflated = zlib.decompress(real[136:])

        def cut(length: int) -> bytes:
            stream = zlib.compress(struct.pack("<II", 14, length) + inflated[8 : 8 + length], 1)
            return real[:128] + struct.pack("<II", 15, len(stream)) + stream

        cut_everywhere(cut, len(inflated) // 4, 20)


class TestHdf5:
    def test_a_file_at_200_places(self, api, cut_everywhere, whole):
        made = api.upload(whole)
        assert made.status_code == 201, made.text
        assert api.session.delete(f"{api.root}/batteries/{made.json()['id']}", timeout=30).status_code == 204
        assert cut_everywhere(lambda length: whole[:length], len(whole), PLACES)

    def test_the_same_length_with_zeros_at_its_end(self, api, whole):
        """The length is right, so that HDF5 opens it; what lies behind is gone."""
        for length in np.linspace(600, len(whole) - 1, 40).astype(int).tolist():
            answer = api.upload(whole[:length] + bytes(len(whole) - length))
            assert answer.status_code in {201, 400}, answer.text
            if answer.status_code == 201:
                api.session.delete(f"{api.root}/batteries/{answer.json()['id']}", timeout=30)


class TestUncompressed:
    def test_a_file_at_100_places(self, cut_everywhere):
        buffer = io.BytesIO()
        columns = {name: np.linspace(3.0, 4.0, 200) for name in ("voltage", "current", "time")}
        scipy.io.savemat(buffer, {"cycles": [columns] * 5})
        whole = buffer.getvalue()
        cut_everywhere(lambda length: whole[:length], len(whole), 100)
