"""v7.3 files that were made to harm or that came to harm, uploaded over HTTP. HDF5 can name other files."""

import io

import h5py
import numpy as np
import pytest
from h5py import h5a, h5d, h5o, h5p, h5s, h5t

SECRET = b"the contents of a file of the server "
COLUMNS = ("cycle", "time_s", "voltage_V", "current_A")
SAMPLES = 80


def sound():
    """Columns of one long record of two cycles, which would be a battery."""
    half = SAMPLES // 4
    volts = np.concatenate([np.linspace(3.0, 4.1, half), np.linspace(4.0, 2.8, half)])
    return {
        "cycle": np.repeat([1.0, 2.0], SAMPLES // 2),
        "time_s": np.arange(SAMPLES) * 180.0,
        "voltage_V": np.tile(volts, 2),
        "current_A": np.tile(np.repeat([1.0, -1.0], half), 2),
    }


def built(build, **options):
    """Bytes of a file that `build` fills."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        build(file)
    return buffer.getvalue()


def with_columns(**others):
    """A sound record in which a function makes some of the columns otherwise."""

    def build(file):
        for name, values in sound().items():
            if name in others:
                others[name](file, name)
            else:
                file[name] = values

    return built(build)


def typed(dtype, shape=(SAMPLES,)):
    return lambda file, name: file.create_dataset(name, shape, dtype=dtype)


def special_type(stored):
    """A column of a type that has no numbers in it."""
    return lambda file, name: h5d.create(file.id, name.encode(), stored, h5s.create_simple((SAMPLES,)))


def committed(file, name):
    file[f"{name}_type"] = np.dtype([("a", "<f8"), ("b", "<i4")])
    file.create_dataset(name, (SAMPLES,), dtype=file[f"{name}_type"])


def object_of_class(name):
    def build(file):
        group = file.create_group("cycles")
        group.attrs["MATLAB_class"] = np.bytes_(name)
        for column, values in sound().items():
            group[column] = values

    return build


def strange_class(value):
    def build(file):
        for column, values in sound().items():
            data = file.create_dataset(column, data=values.astype("u2"))
            data.attrs["MATLAB_class"] = value

    return build


def filtered(number):
    """A record whose voltage was written with a filter of this number, which no MATLAB writes."""
    made = with_columns(voltage_V=lambda file, name: file.create_dataset(name, data=sound()[name], compression="lzf"))
    known = (32000).to_bytes(2, "little") + (8).to_bytes(2, "little")  # the filter's number, the length of its name
    assert made.count(known) == 1
    return made.replace(known, number.to_bytes(2, "little") + known[2:])


def self_reference(file):
    for name in COLUMNS:
        cells = file.create_dataset(name, (2, 1), dtype=h5py.ref_dtype)
        cells[0, 0] = cells[1, 0] = cells.ref


def circle_of_references(file):
    first, second = (file.create_dataset(f"#refs#/{name}", (1, 1), dtype=h5py.ref_dtype) for name in "ab")
    first[0, 0], second[0, 0] = second.ref, first.ref
    for name in COLUMNS:
        file.create_dataset(name, (1, 1), dtype=h5py.ref_dtype)[0, 0] = first.ref


def null_references(file):
    for name in COLUMNS:
        file.create_dataset(name, (5, 1), dtype=h5py.ref_dtype)


def broken_references():
    """References to where no object is."""

    def build(file):
        target = file.create_dataset("#refs#/a", data=np.arange(10.0))
        for name in COLUMNS:
            file.create_dataset(name, (1, 1), dtype=h5py.ref_dtype)[0, 0] = target.ref
        address.append(h5o.get_info(target.id).addr)

    address = []
    content = built(build)
    assert content.count(address[0].to_bytes(8, "little")) > len(COLUMNS)
    return content.replace(address[0].to_bytes(8, "little"), (address[0] + 13).to_bytes(8, "little"))


def deep(file):
    group = file
    for _ in range(3000):
        group = group.create_group("g")


def again_and_again(file):
    target = file.create_dataset("#refs#/a", data=np.ones(500_000))
    for name in COLUMNS:
        file.create_dataset(name, data=np.full(2_000, target.ref, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def many_names(file):
    target = file.create_group("#refs#").create_dataset("a", data=np.ones(3))
    for number in range(30_000):
        h5o.link(target.id, file["#refs#"].id, b"%d" % number)


def filled(value):
    return lambda file: file.update({name: np.full(SAMPLES, value) for name in COLUMNS})


def in_a_circle(file):
    group = file.create_group("a/b")
    group["again"] = file["a"]


def linked(link):
    def build(file):
        for name, values in sound().items():
            file[f"#refs#/{name}"] = values
            file[name] = link(name)

    return build


def regions(file, name):
    made = h5p.create(h5p.DATASET_CREATE)
    made.set_layout(h5d.COMPACT)
    h5d.create(file.id, name.encode(), h5t.STD_REF_DSETREG, h5s.create_simple((4,)), made)


def attribute_of_many_bytes(file):
    for name, values in sound().items():
        data = file.create_dataset(name, data=values.astype("u2"))
        h5a.create(data.id, b"MATLAB_class", h5t.C_S1, h5s.create_simple((4000,)))


HUGE = 10**12
HOSTILE = {
    "random bytes behind the signature": lambda: b"\x89HDF\r\n\x1a\n" + np.random.default_rng(2).bytes(100_000),
    "zeros behind the signature": lambda: b"\x89HDF\r\n\x1a\n" + bytes(100_000),
    "8 TB in small chunks": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, (HUGE,), "f8", chunks=(1,))
    ),
    "8 TB in one piece": lambda: with_columns(voltage_V=typed("f8", (HUGE,))),
    "8 TB that fill values stand for": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, (HUGE,), "f8", chunks=(10**6,), fillvalue=3.7)
    ),
    "dimensions beyond 64 bits": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, (2**31, 2**31, 2**3), "u1", chunks=(1, 1, 1))
    ),
    "a chunk of 3 GB": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, (1,), "f8", maxshape=(None,), chunks=(4 * 10**8,))
    ),
    "160 MB of which nothing was written": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, (20_000_000,), "f8", chunks=(1024,))
    ),
    "groups in a circle": lambda: built(in_a_circle),
    "groups nested 3,000 deep": lambda: built(deep),
    "references to themselves": lambda: built(self_reference),
    "references in a circle": lambda: built(circle_of_references),
    "references to nothing": lambda: built(null_references),
    "references to no object": broken_references,
    "one array by 8,000 names": lambda: built(again_and_again),
    "30,000 names": lambda: built(many_names),
    "soft links": lambda: built(linked(lambda name: h5py.SoftLink(f"/#refs#/{name}"))),
    "soft links to nothing": lambda: built(linked(lambda name: h5py.SoftLink(f"/nowhere/{name}"))),
    "a filter that would load a plug-in": lambda: filtered(32015),
    "a filter that MATLAB does not write": lambda: filtered(32000),
    "a type of its own, committed": lambda: with_columns(voltage_V=committed),
    "compounds for numbers": lambda: with_columns(voltage_V=typed([("a", "f8"), ("b", "S5")])),
    "texts for numbers": lambda: with_columns(voltage_V=typed("S10")),
    "texts of any length for numbers": lambda: with_columns(voltage_V=typed(h5py.string_dtype())),
    "lists for numbers": lambda: with_columns(voltage_V=typed(h5py.vlen_dtype("f8"))),
    "arrays for numbers": lambda: with_columns(voltage_V=typed(np.dtype(("f8", (3, 3))))),
    "opaque bytes for numbers": lambda: with_columns(voltage_V=typed("V16")),
    "bits for numbers": lambda: with_columns(voltage_V=special_type(h5t.STD_B8LE)),
    "times for numbers": lambda: with_columns(voltage_V=special_type(h5t.UNIX_D32LE)),
    "references to regions": lambda: with_columns(voltage_V=regions),
    "no values at all": lambda: with_columns(
        voltage_V=lambda file, name: file.create_dataset(name, data=h5py.Empty("f8"))
    ),
    "a table object": lambda: built(object_of_class("table")),
    "an opaque class": lambda: built(object_of_class("MCOS")),
    "function handles": lambda: built(strange_class(np.bytes_("function_handle"))),
    "a class that is a number": lambda: built(strange_class(17)),
    "a class of any length": lambda: built(strange_class("double")),
    "a class of many parts": lambda: built(attribute_of_many_bytes),
    "no variables": lambda: built(lambda file: None),
    "a file of attributes": lambda: built(lambda file: file.attrs.create("x", np.zeros(5000))),
    "columns of unequal lengths": lambda: with_columns(
        voltage_V=typed("f8", (7,)), current_A=typed("f8", (13,)), time_s=typed("f8", (1,))
    ),
    "nothing but NaN": lambda: built(filled(np.nan)),
    "nothing but infinity": lambda: built(filled(np.inf)),
}  # fmt: skip


class TestHostile:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_is_refused_and_leaves_nothing(self, hostile, kind):
        assert hostile(HOSTILE[kind]())


class TestOtherFiles:
    """None of them is ever read, however the file names them."""

    @pytest.fixture
    def secret(self, tmp_path):
        """An HDF5 file of the server whose numbers would make a battery, and a file of text."""
        path = tmp_path / "secret.h5"
        with h5py.File(path, "w") as file:
            for name, values in sound().items():
                file[name] = values
        (tmp_path / "secret.txt").write_bytes(SECRET * 100)
        return path

    def refuse(self, api, hostile, content, reason):
        said = hostile(content)
        assert reason in said
        assert SECRET.decode()[:20] not in said
        assert SECRET.decode()[:20] not in api.log()

    def test_virtual_data_sets(self, api, hostile, secret):
        def virtual(file, name):
            layout = h5py.VirtualLayout((SAMPLES,), "f8")
            layout[:] = h5py.VirtualSource(str(secret), name, (SAMPLES,))
            file.create_virtual_dataset(name, layout)

        self.refuse(api, hostile, with_columns(**dict.fromkeys(COLUMNS, virtual)), "virtual data set")

    def test_external_storage(self, api, hostile, secret):
        def external(file, name):
            file.create_dataset(name, (SAMPLES,), "f8", external=[(str(secret.with_suffix(".txt")), 0, SAMPLES * 8)])

        self.refuse(api, hostile, with_columns(voltage_V=external), "external storage")

    def test_external_storage_that_only_a_reference_names(self, api, hostile, secret):
        """The data set is struck from its group's table of names; a reference still finds it."""

        def build(file):
            for name in COLUMNS:
                file.create_dataset(name, (1, 1), dtype=h5py.ref_dtype)
            group = file.create_group("#refs#")
            parts = [(str(secret.with_suffix(".txt")), 0, SAMPLES * 8)]
            hidden = group.create_dataset("hidden", (SAMPLES,), "f8", external=parts)
            for name in COLUMNS:
                file[name][0, 0] = hidden.ref

        content = built(build)
        tables = [at for at in range(len(content)) if content.startswith(b"SNOD", at)]
        counts = [int.from_bytes(content[at + 6 : at + 8], "little") for at in tables]
        at = tables[counts.index(1)]
        hidden = content[: at + 6] + b"\0\0" + content[at + 8 :]
        with h5py.File(io.BytesIO(hidden)) as file:
            assert list(file["#refs#"]) == []
        self.refuse(api, hostile, hidden, "external storage")

    def test_external_links(self, api, hostile, secret):
        content = built(linked(lambda name: h5py.ExternalLink(str(secret), f"/{name}")))
        self.refuse(api, hostile, content, "soft or external links")


class TestHarmless:
    def test_chunked_compressed_and_big_endian_columns_are_read(self, api):
        def build(file):
            for number, (name, values) in enumerate(sound().items()):
                options = [{"compression": 9, "shuffle": True, "fletcher32": True}, {}, {"chunks": (7,)}, {}][number]
                file.create_dataset(name, data=values.astype(">f8" if number == 1 else "<f8"), **options)

        answer = api.upload(built(build, userblock_size=512))
        assert answer.status_code == 201, answer.text
        assert answer.json()["total_cycles"] == 2
        assert api.session.delete(f"{api.root}/batteries/{answer.json()['id']}", timeout=30).status_code == 204
