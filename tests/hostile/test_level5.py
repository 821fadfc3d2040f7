"""Level 5 files that were made to harm or that came to harm, uploaded over HTTP."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from isal import isal_zlib

HEADER = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM"
MATRIX, COMPRESSED, INT8, INT32, UINT32, DOUBLE = 14, 15, 1, 5, 6, 9
CELL, STRUCT, OBJECT, CHAR, SPARSE, FLOAT64, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 6, 16, 17


def element(kind, data, declared=None):
    """A tag and its data, padded to eight bytes."""
    return struct.pack("<II", kind, len(data) if declared is None else declared) + data + bytes(-len(data) % 8)


def array(kind, dimensions, data=b"", name=b"", declared=None):
    """An array of a class: flags, dimensions, name, data."""
    flags = element(UINT32, struct.pack("<II", kind, 0))
    sizes = element(INT32, struct.pack(f"<{len(dimensions)}i", *dimensions))
    return element(MATRIX, flags + sizes + element(INT8, name) + data, declared)


def numbers(values, name=b""):
    values = np.atleast_1d(np.asarray(values, dtype="<f8"))
    return array(FLOAT64, (1, len(values)), element(DOUBLE, values.tobytes()), name)


def fields(names, values, name=b"", count=1, width=32):
    """A struct array: its field names, then its values, element by element."""
    spelled = b"".join(field.encode().ljust(width, b"\0") for field in names)
    data = element(INT32, struct.pack("<i", width)) + element(INT8, spelled) + b"".join(values)
    return array(STRUCT, (1, count), data, name)


def packed(content):
    stream = zlib.compress(content)
    return struct.pack("<II", COMPRESSED, len(stream)) + stream


def bomb(size, declared):
    """A small variable of `declared` bytes that inflates to `size`."""
    stream = isal_zlib.compressobj(1)
    parts = [stream.compress(struct.pack("<II", MATRIX, declared))]
    parts += [stream.compress(bytes(2**20)) for _ in range(size // 2**20)]
    content = b"".join([*parts, stream.flush()])
    return struct.pack("<II", COMPRESSED, len(content)) + content


def nested(depth, kind):
    content = numbers(1.0)
    for _ in range(depth):
        content = array(CELL, (1, 1), content) if kind == CELL else fields(["x"], [content])
    return array(CELL, (1, 1), content, b"V")


def many_cells(count):
    return array(CELL, (1, count), element(MATRIX, b"") * count, b"V")


def saved(variables, **options):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


def cycles(samples=40, **columns):
    """A generic cell of three cycles with these columns in the place of sound ones."""
    half = samples // 2
    sound = {
        "time_s": np.linspace(0.0, 7200.0, samples),
        "voltage_V": np.concatenate([np.linspace(3.0, 4.1, half), np.linspace(4.0, 2.8, half)]),
        "current_A": np.repeat([1.0, -1.0], half),
    }
    return saved({"cycles": [sound | columns] * 3})


def damaged(content, old, new):
    assert content.count(old) >= 1
    return content.replace(old, new)


SOUND = array(CELL, (1, 1), numbers([1.0]), b"V")
WORDS = np.array([["three", "four"]], dtype=object)
HOSTILE = {
    "random bytes behind a good header": lambda: HEADER + np.random.default_rng(1).bytes(200_000),
    "zeros behind a good header": lambda: HEADER + bytes(200_000),
    "a tag that declares 4 GB": lambda: HEADER + struct.pack("<II", MATRIX, 2**32 - 1) + bytes(100),
    "a compressed tag that declares 4 GB": lambda: HEADER + struct.pack("<II", COMPRESSED, 2**32 - 1) + bytes(100),
    "3.9 GB declared in a compressed variable": lambda: HEADER + bomb(2**20, 2**32 - 8),
    "300 MB of zeros": lambda: HEADER + bomb(300 * 2**20, 300 * 2**20),
    "three times 400 MB": lambda: HEADER + bomb(400 * 2**20, 400 * 2**20) * 3,
    "200 MB where a kilobyte is declared": lambda: HEADER + bomb(200 * 2**20, 1000),
    "a stream that stops": lambda: HEADER + struct.pack("<II", COMPRESSED, 12) + zlib.compress(SOUND)[:12],
    "a stream with a wrong checksum": lambda: HEADER + packed(SOUND)[:-4] + b"abcd",
    "a stream that is none": lambda: HEADER + element(COMPRESSED, b"not a stream of zlib's at all!!!"),
    "a compressed variable of nothing": lambda: HEADER + struct.pack("<II", COMPRESSED, 0),
    "compression inside compression": lambda: HEADER + packed(packed(SOUND)),
    "cells nested 10,000 deep": lambda: HEADER + packed(nested(10_000, CELL)),
    "structs nested 2,000 deep": lambda: HEADER + packed(nested(2_000, STRUCT)),
    "three million empty cells": lambda: HEADER + packed(many_cells(3_000_000)),
    "dimensions beyond 64 bits": lambda: HEADER + array(FLOAT64, (2**31 - 1,) * 6, element(DOUBLE, bytes(8)), b"V"),
    "negative dimensions": lambda: HEADER + array(FLOAT64, (-1, 5), element(DOUBLE, bytes(40)), b"V"),
    "one dimension": lambda: HEADER + array(FLOAT64, (5,), element(DOUBLE, bytes(40)), b"V"),
    "no dimensions": lambda: HEADER + array(FLOAT64, (), b"", b"V"),
    "2^31 structs without fields": lambda: HEADER + fields([], [], b"cycles", 2**31 - 1),
    "2^31 structs with fields": lambda: HEADER + fields(["voltage", "current"], [], b"cycles", 2**31 - 1),
    "field names of length 0": lambda: HEADER + damaged(
        fields(["voltage"], [numbers(1.0)], b"c"), struct.pack("<i", 32), struct.pack("<i", 0)
    ),
    "field names of negative length": lambda: HEADER + damaged(
        fields(["voltage"], [numbers(1.0)], b"c"), struct.pack("<i", 32), struct.pack("<i", -8)
    ),
    "field names longer than the variable": lambda: HEADER + damaged(
        fields(["voltage"], [numbers(1.0)], b"c"), struct.pack("<i", 32), struct.pack("<i", 2**30)
    ),
    "an element longer than its variable": lambda: (
        HEADER + array(FLOAT64, (1, 5), element(DOUBLE, bytes(40), 2**31), b"V")
    ),
    "an array of no known class": lambda: HEADER + array(99, (1, 1), element(DOUBLE, bytes(8)), b"V"),
    "numbers of no known type": lambda: HEADER + array(FLOAT64, (1, 5), element(77, bytes(40)), b"V"),
    "a function handle": lambda: HEADER + array(FUNCTION, (1, 1), numbers(1.0), b"V"),
    "an opaque object": lambda: HEADER + element(
        MATRIX, element(UINT32, struct.pack("<II", OPAQUE, 0)) + element(INT8, b"V") + element(INT8, b"MCOS") + SOUND
    ),
    "an object": lambda: HEADER + array(OBJECT, (1, 1), element(INT8, b"table") + numbers(1.0), b"V"),
    "a sparse matrix": lambda: (
        HEADER + array(SPARSE, (3, 3), element(INT32, bytes(12)) * 2 + element(DOUBLE, b""), b"V")
    ),
    "variables without names": lambda: HEADER + array(CELL, (1, 1), numbers(1.0)) * 3,
    "a name of 100,000 characters": lambda: HEADER + numbers(1.0, b"x" * 100_000),
    "a name that is not text": lambda: HEADER + numbers(1.0, b"\xff\xfe\x00\x1b[31m"),
    "the same name five times": lambda: HEADER + numbers(1.0, b"V") * 5,
    "no variables": lambda: HEADER,
    "half a tag at the end": lambda: HEADER + SOUND + b"\x0e\0\0",
    "text where numbers belong": lambda: cycles(voltage_V="three volts", current_A="one ampere"),
    "cells of text where numbers belong": lambda: cycles(voltage_V=WORDS, current_A=WORDS),
    "columns of unequal lengths": lambda: cycles(voltage_V=np.linspace(3.0, 4.0, 33), current_A=np.ones(7)),
    "nothing but NaN": lambda: cycles(voltage_V=np.full(40, np.nan), current_A=np.full(40, np.nan)),
    "nothing but infinity": lambda: cycles(voltage_V=np.full(40, np.inf), current_A=np.full(40, -np.inf)),
    "complex numbers": lambda: cycles(voltage_V=np.ones(40) * 1j, current_A=np.ones(40) * 1j),
    "cycles without samples": lambda: cycles(samples=0),
    "zero cycles": lambda: saved({"cycles": np.empty((1, 0), dtype=[("voltage", object), ("current", object)])}),
    "a million numbers that mean nothing": lambda: saved({"x": np.zeros(1_000_000)}, do_compression=True),
}  # fmt: skip


class TestHostile:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_is_refused_and_leaves_nothing(self, hostile, kind):
        assert hostile(HOSTILE[kind]())

    def test_big_endian_damage_is_refused_like_the_other(self, hostile):
        header = HEADER[:124] + b"\x01\x00MI"
        assert hostile(header + struct.pack(">II", MATRIX, 2**32 - 1) + bytes(50))
        assert hostile(header + struct.pack(">II", COMPRESSED, 16) + bytes(16))
        assert hostile(header + SOUND)  # little-endian content behind a big-endian header

    def test_nothing_of_a_file_names_its_place_on_the_server(self, api, hostile):
        for kind in ("a stream that stops", "zero cycles", "field names of length 0"):
            reason = hostile(HOSTILE[kind]())
            assert str(api.home) not in reason
            assert "upload.mat" not in reason


class TestHarmless:
    """What looks odd, yet says all that is needed."""

    @pytest.mark.parametrize("kind", ["bytes behind the stream", "an array of another class beside the cycles"])
    def test_is_read(self, api, kind):
        sound = cycles()
        if kind == "bytes behind the stream":
            (length,) = struct.unpack_from("<I", sound, 132)
            stream = zlib.compress(sound[128 : 136 + length]) + b"garbage!"
            content = HEADER + struct.pack("<II", COMPRESSED, len(stream)) + stream
        else:
            content = sound + array(FUNCTION, (1, 1), numbers(1.0), b"plot")
        answer = api.upload(content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["total_cycles"] == 3
        assert api.session.delete(f"{api.root}/batteries/{answer.json()['id']}", timeout=30).status_code == 204
