import hashlib
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from batteries.matfiles.errors import NoCycles, UnreadableFile
from batteries.samples import synthetic_cell, write_mat
from store import batteries, descriptions, files, imports, recordings, sweeping
from store.changes import delete_battery
from store.descriptions import Description, InvalidField, shown_name, to_json
from store.session import reading
from store.settings import CHECKOUT
from store.tables import Battery, CycleRow


def count(table: type) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(table))


@pytest.mark.usefixtures("database")
class TestImportUpload:
    def test_leaves_a_whole_battery(self, database, upload, mat, tree):
        battery = upload(filename="C:\\lab\\cell 1.mat", manufacturer="Us", nominal_capacity=1.2)
        assert (battery.id, battery.filename, battery.total_cycles) == (1, "cell 1.mat", 30)
        assert (battery.manufacturer, battery.nominal_capacity) == ("Us", 1.2)
        assert (battery.sha256, battery.size_bytes) == (
            hashlib.sha256(mat.read_bytes()).hexdigest(),
            mat.stat().st_size,
        )
        assert tree(database.data) == ["batteries/1.json", "cycles/1.parquet", "raw/1.mat"]
        assert (database.data / "raw" / "1.mat").read_bytes() == mat.read_bytes()

    def test_health_of_a_cycle_is_its_capacity_over_the_nominal_one(self, upload, rows_of):
        rows = rows_of(upload(nominal_capacity=1.2).id)
        assert len(rows) == 30
        assert [row.cycle_index for row in rows] == list(range(1, 31))
        assert all(row.soh == pytest.approx(row.capacity_ah / 1.2) for row in rows)

    @pytest.mark.parametrize(("given", "hint"), [(1100.0, True), (0.0011, False)])
    def test_a_nominal_capacity_in_another_unit_is_refused_and_nothing_is_left(
        self, database, upload, tree, given, hint
    ):
        with pytest.raises(InvalidField) as caught:
            upload(nominal_capacity=given)
        assert caught.value.field == "nominal_capacity"
        assert re.match(rf"{given:g} Ah does not fit capacities of about 1\.\d+ Ah in the file", caught.value.issue)
        assert caught.value.issue.endswith("is it mAh?") == hint
        assert tree(database.data) == []

    def test_a_nominal_capacity_that_is_merely_too_large_is_the_callers_word(self, upload):
        assert upload(nominal_capacity=50.0).nominal_capacity == 50.0

    def test_the_description_file_says_what_the_row_says(self, database, upload):
        battery = upload(chemistry="LFP")
        with reading() as session:
            row = batteries.get(session, battery.id)
        path = files.paths(database.data, battery.id)["description"]
        assert path.read_bytes() == to_json(row)
        assert descriptions.read(path)["chemistry"] == "LFP"

    def test_the_same_file_again_is_a_battery_of_its_own(self, upload):
        first, second = upload(), upload()
        assert (first.id, second.id, first.sha256 == second.sha256) == (1, 2, True)

    def test_the_same_bytes_are_kept_once_as_long_as_a_battery_has_them(self, database, upload, mat):
        raw = [files.paths(database.data, upload().id)["raw"] for _ in range(3)]
        assert len({path.stat().st_ino for path in raw}) == 1
        delete_battery(1)
        assert raw[1].read_bytes() == raw[2].read_bytes() == mat.read_bytes()
        assert files.paths(database.data, upload().id)["raw"].stat().st_ino == raw[1].stat().st_ino

    def test_uploads_of_the_same_bytes_at_once_share_them(self, database, upload):
        with ThreadPoolExecutor(3) as pool:
            made = list(pool.map(lambda _: upload().id, range(3)))
        assert len({files.paths(database.data, number)["raw"].stat().st_ino for number in made}) == 1

    def test_other_bytes_are_other_files(self, database, upload, tmp_path):
        other = tmp_path / "other.mat"
        write_mat(synthetic_cell(cycles=8), other)
        upload(), upload(other)
        assert files.paths(database.data, 2)["raw"].read_bytes() == other.read_bytes()

    def test_where_names_cannot_share_bytes_they_are_kept_again(self, database, upload, mat, monkeypatch):
        upload()

        def refuse(*_: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        assert files.paths(database.data, upload().id)["raw"].read_bytes() == mat.read_bytes()

    @pytest.mark.parametrize(
        ("written", "kept"), [("A\x01B\n", "AB"), ("M" * 400, "M" * 255), ("\x02 ", None), (" Sony ", "Sony")]
    )
    def test_texts_in_the_file_are_made_fit_to_be_shown(self, written, kept, upload, tmp_path):
        source = tmp_path / "cell.mat"
        write_mat(replace(synthetic_cell(cycles=8), manufacturer=written, chemistry=written), source)
        upload(source)
        with reading() as session:
            battery = session.scalars(select(Battery)).one()
        assert (battery.manufacturer, battery.chemistry) == (kept, kept)

    @pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" * 9])
    def test_what_cannot_be_read_leaves_nothing(self, database, upload, tree, content):
        broken = database.home.parent / "broken.mat"
        broken.write_bytes(content)
        with pytest.raises(UnreadableFile):
            upload(broken)
        assert (count(Battery), tree(database.data), list((database.data / ".incoming").iterdir())) == (0, [], [])

    def test_a_failing_insert_leaves_no_files(self, database, upload, monkeypatch, tree):
        move = files.move_into_place

        def fail(moves: dict[Path, Path]) -> None:
            move(dict(list(moves.items())[:2]))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files, "move_into_place", fail)
        with pytest.raises(OSError, match="No space"):
            upload()
        assert (count(Battery), count(CycleRow), tree(database.data)) == (0, 0, [])


@pytest.mark.usefixtures("home")
class TestRealFiles:
    def test_nasa_cell_has_its_cycles_and_health(self, upload, nasa, rows_of):
        battery = upload(nasa("B0005"))
        assert (battery.total_cycles, battery.nominal_capacity) == (168, 2.0)
        assert battery.import_report["nominal_capacity_source"] == "layout"
        first = rows_of(battery.id)[0]
        assert first.soh == pytest.approx(1.8564874 / 2.0, abs=1e-6)  # the file's own Capacity of discharge 1

    def test_both_containers_of_a_cell_give_equal_batteries(self, home, upload, nasa):
        level5, hdf5 = upload(nasa("B0006")), upload(nasa("B0006_v73"))
        scalars = [recordings.scalars(recordings.path_of(home.data, b.id)) for b in (level5, hdf5)]
        for name in scalars[0]:
            np.testing.assert_array_equal(scalars[0][name], scalars[1][name], err_msg=name)
        windows = [recordings.latest_window(home.data, b.id, 168).features.tobytes() for b in (level5, hdf5)]
        assert windows[0] == windows[1]

    def test_a_file_of_something_else_has_no_cycles(self, upload, shared_data, tree, home):
        source = shared_data / "not_cycles" / "dmegc_Exp25_R1.mat"
        if not source.is_file():
            pytest.skip(f"{source.name} is not there")
        with pytest.raises(NoCycles):
            upload(source)
        assert tree(home.data) == []


class TestDescription:
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_nominal_capacity_is_a_positive_number(self, value):
        with pytest.raises(InvalidField) as caught:
            Description(nominal_capacity=value)
        assert caught.value.field == "nominal_capacity"

    @pytest.mark.parametrize("value", ["x" * 256, "a\0b", "a\nb"])
    def test_texts_are_short_and_printable(self, value):
        with pytest.raises(InvalidField) as caught:
            Description(chemistry=value)
        assert caught.value.field == "chemistry"


class TestShownName:
    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("../../x.mat", "x.mat"),
            ("C:\\data\\x.mat", "x.mat"),
            ("", "upload.mat"),
            ("a\0\nb.mat", "ab.mat"),
            ("x" * 300 + ".mat", "x" * 251 + ".mat"),
            ("Zelle für müde Ionen.mat", "Zelle für müde Ionen.mat"),
        ],
    )
    def test_is_a_plain_name(self, given, shown):
        assert shown_name(given) == shown


@pytest.mark.usefixtures("database")
class TestEarly:
    def test_a_battery_of_a_file_that_was_parsed_while_it_arrived_is_like_any(self, upload, mat, rows_of):
        expected, early = upload(nominal_capacity=1.2), imports.Early()
        with imports.incoming() as folder:
            received = folder / "received"
            received.write_bytes(mat.read_bytes()[:5000])
            early.begin(received)
            with received.open("ab") as file:
                file.write(mat.read_bytes()[5000:])
            said = Description(nominal_capacity=1.2)
            battery = imports.import_upload(received, "cell.mat", said, parser=early.parser)
            early.end()
        assert battery.import_report == expected.import_report
        assert [row.soh for row in rows_of(battery.id)] == [row.soh for row in rows_of(expected.id)]

    def test_only_one_upload_has_a_parser_before_it_has_arrived(self, mat):
        first, second, third = imports.Early(), imports.Early(), imports.Early()
        first.begin(mat), second.begin(mat)
        second.end(), third.begin(mat), first.end()
        assert [early.parser is None for early in (first, second, third)] == [False, True, True]
        third.end(), third.begin(mat), third.end()
        assert third.parser is not None

    def test_one_that_cannot_begin_gives_the_turn_back(self, mat, monkeypatch):
        monkeypatch.setattr(imports, "RunningParser", None)
        early = imports.Early()
        with pytest.raises(TypeError):
            early.begin(mat)
        early.end()
        monkeypatch.undo()
        early.begin(mat), early.end()
        assert early.parser is not None


DYING = """
import os, shutil, signal, sys
from pathlib import Path
from store import files, imports, session, changes
point, source = sys.argv[1], Path(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function, times=1):
    calls = []
    def wrapped(*arguments, **named):
        result = function(*arguments, **named)
        calls.append(1)
        if len(calls) == times:
            die()
        return result
    return wrapped

if point == "while parsing":
    imports.facts_of = die
elif point == "before the first rename":
    files.move_into_place = die
elif point.startswith("after rename"):
    Path.replace = after(Path.replace, int(point[-1]))
elif point == "before the commit":
    files.move_into_place = after(files.move_into_place)
with imports.incoming() as folder:
    received = folder / "received"
    shutil.copyfile(source, received)
    imports.import_upload(received, "x.mat")
    if point == "after the commit":
        die()
"""
POINTS = ["while parsing", "before the first rename", "after rename 1", "after rename 2", "after rename 3"]


@pytest.mark.usefixtures("home")
class TestKilled:
    @pytest.mark.parametrize("point", [*POINTS, "before the commit", "after the commit"])
    def test_there_is_a_whole_battery_or_none(self, point, home, mat, tree, upload):
        upload()
        before = tree(home.data)
        killed = subprocess.run(
            [sys.executable, "-c", DYING, point, str(mat)],
            cwd=CHECKOUT,
            env=os.environ | {"BATTERY_HOME": str(home.home)},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        sweeping.sweep()
        whole = [
            f"{folder}/2.{suffix}" for folder, suffix in (("batteries", "json"), ("cycles", "parquet"), ("raw", "mat"))
        ]
        expected = sorted(before + whole) if point == "after the commit" else before
        assert tree(home.data) == expected
        assert count(Battery) == len(expected) // 3
        assert not any(Path(home.data / ".incoming").iterdir())
        assert sweeping.sweep() == []
        upload()
        assert count(Battery) == len(expected) // 3 + 1
