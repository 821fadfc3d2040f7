"""Which cells a protocol finds, which of them judge, and that it keeps what is written."""

import tarfile

import numpy as np
import pytest

from models.protocols.tasks import NoCells, tasks


def quiet(_):
    """Nobody listens."""


class TestP1:
    def test_the_published_cells_are_split_as_published(self, written, cells):
        found = tasks("P1", written({f"{n}.csv": cells["wen"](n) for n in (91, 100, 124)}), quiet)
        assert [task.test_cells for task in found] == [("124",)]
        assert found[0].feature_names == ("follows", "noise")
        of_91 = next(history for history in found[0].histories if history.cell == "91")
        np.testing.assert_array_equal(of_91.cycle_index, np.arange(1, 61))
        np.testing.assert_array_equal(of_91.rul, np.arange(59, -1, -1))  # trap 3: cycles, not shares of this life
        np.testing.assert_array_equal(of_91.features[:, 0], cells["wen"](91)["follows"])

    def test_of_other_cells_each_judges_in_turn(self, written, cells):
        found = tasks("P1", written({f"{n}.csv": cells["wen"](n) for n in (1, 2, 3)}), quiet)
        assert [task.test_cells for task in found] == [("1",), ("2",), ("3",)]

    def test_a_cell_that_lies_there_twice_is_one(self, written, cells):
        said = []
        tables = {"1.csv": cells["wen"](1), "2.csv": cells["wen"](2), "copy.csv": cells["wen"](1)}
        found = tasks("P1", written(tables), said.append)
        assert [task.test_cells for task in found] == [("1",), ("2",)]
        assert said == ["Left out, the same cycles as 1: copy"]

    def test_nothing_to_read_is_said(self, tmp_path):
        with pytest.raises(NoCells, match="P1 wants at least two CSV files"):
            tasks("P1", tmp_path, quiet)

    def test_an_unknown_protocol_is_said(self, tmp_path):
        with pytest.raises(ValueError, match="no protocol 'P3'; there are P1, P2, P4, P5"):
            tasks("P3", tmp_path, quiet)


class TestP2:
    def test_the_judging_cells_are_the_published_ones(self, written, cells):
        xjtu = {f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 3, 4, 8, 14)}
        mit = {f"MIT data/2017-05-12/2017-05-12_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 2, 5, 10, 12)}
        found = {task.name: task for task in tasks("P2", written({**xjtu, **mit}), quiet)}
        assert set(found) == {"XJTU 2C", "MIT"}
        assert set(found["XJTU 2C"].test_cells) == {"2C_battery-4", "2C_battery-8", "2C_battery-14"}
        assert set(found["MIT"].test_cells) == {"2017-05-12_battery-5", "2017-05-12_battery-10"}

    def test_a_file_that_is_no_archive_holds_no_cells(self, tmp_path):
        (tmp_path / "notes.tar.txt").write_text("no archive")
        for data in (tmp_path, tmp_path / "notes.tar.txt"):
            with pytest.raises(NoCells, match="P2 wants CSV files"):
                tasks("P2", data, quiet)

    def test_few_cycles_are_looked_back_over_longer(self, written, cells, monkeypatch):
        data = written({f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 2, 4)})
        (few,) = tasks("P2", data, quiet)
        monkeypatch.setattr("models.protocols.tasks.MANY_CYCLES", sum(map(len, few.histories)))
        (many,) = tasks("P2", data, quiet)
        assert (few.past, many.past) == (256, 64)

    def test_the_folder_of_one_set_is_known_by_its_own_name(self, written, cells):
        data = written({f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 3, 4)})
        (task,) = tasks("P2", data / "XJTU data", quiet)
        assert (task.name, task.test_cells) == ("XJTU 2C", ("2C_battery-4",))

    def test_the_name_of_the_archive_does_not_hide_what_the_folders_in_it_say(self, written, cells, tmp_path):
        data = written({f"MIT data/2017/2017_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 5, 11)})
        with tarfile.open(tmp_path / "xjtu_mit.tar", "w") as archive:
            archive.add(data / "MIT data", "MIT data")
        (task,) = tasks("P2", tmp_path / "xjtu_mit.tar", quiet)
        assert (task.name, task.test_cells) == ("MIT", ("2017_battery-5",))
        assert {history.nominal_capacity_ah for history in task.histories} == {1.1}

    def test_no_row_index_and_no_cleaned_label(self, written, cells):
        # leakage trap 6: test labels are those of the file, outliers and all
        table = cells["pinn4soh"](4)
        table.loc[7, "capacity"] = 0.3
        table.loc[9, "CC Q"] = np.inf
        data = written({"XJTU data/2C_battery-4.csv": table, "XJTU data/2C_battery-1.csv": cells["pinn4soh"](1)})
        (task,) = tasks("P2", data, quiet)
        judging = next(history for history in task.histories if history.cell == "2C_battery-4")
        np.testing.assert_allclose(judging.soh, table["capacity"] / 2.0)
        np.testing.assert_array_equal(judging.features[:, 0], table["voltage mean"])  # trap 2: as written, not scaled
        assert np.isnan(judging.cycle_index).all()
        assert np.isnan(judging.features[9, 1])

    def test_of_unknown_sets_every_fifth_cell_judges(self, written, cells):
        data = written({f"Elsewhere/{letter}.csv": cells["pinn4soh"](n) for n, letter in enumerate("abcdefg")})
        (task,) = tasks("P2", data, quiet)
        assert task.test_cells == ("e",)

    def test_the_archive_is_read_as_the_folder_is(self, written, cells, tmp_path):
        data = written({f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 2, 4)})
        with tarfile.open(tmp_path / "cells.tar.xz", "w:xz") as archive:
            archive.add(data / "XJTU data", "XJTU data")
        (folder,) = tasks("P2", data, quiet)
        (packed,) = tasks("P2", tmp_path / "cells.tar.xz", quiet)
        assert packed.test_cells == folder.test_cells
        for ours, theirs in zip(packed.histories, folder.histories, strict=True):
            assert ours.cell == theirs.cell
            np.testing.assert_array_equal(ours.features, theirs.features)

    def test_an_archive_is_found_beside_tables_of_another_protocol(self, written, cells, tmp_path):
        data = written({f"XJTU data/2C_battery-{n}.csv": cells["pinn4soh"](n) for n in (1, 2, 4)})
        folder = tmp_path / "everything"
        (folder / "wen").mkdir(parents=True)
        cells["wen"](91).to_csv(folder / "wen" / "91.csv", index=False)
        with tarfile.open(folder / "cells.tar.xz", "w:xz") as archive:
            archive.add(data / "XJTU data", "XJTU data")
        said = []
        (task,) = tasks("P2", folder, said.append)
        assert task.test_cells == ("2C_battery-4",)
        assert said == ["Not read, without the column capacity: wen/91.csv"]
