import os
import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import delete

from store import batteries, changes, files, histories, recordings, sweeping
from store.changes import delete_battery, update_battery
from store.descriptions import InvalidField, read, to_json
from store.session import reading, transaction
from store.settings import CHECKOUT
from store.tables import Battery


def row(battery_id: int) -> Battery:
    with reading() as session:
        battery = batteries.get(session, battery_id)
    assert battery is not None
    return battery


@pytest.mark.usefixtures("database")
class TestUpdateBattery:
    def test_changes_what_is_named_and_nothing_else(self, database, upload):
        before = upload(manufacturer="Us", chemistry="LFP")
        after = update_battery(before.id, manufacturer="Them")
        assert (after.manufacturer, after.chemistry, after.nominal_capacity) == ("Them", "LFP", before.nominal_capacity)
        assert after.updated_at > before.updated_at
        assert after.created_at == before.created_at
        stored = row(before.id)
        assert stored.manufacturer == "Them"
        assert files.paths(database.data, before.id)["description"].read_bytes() == to_json(stored)

    def test_a_nominal_capacity_in_another_unit_is_refused_and_changes_nothing(self, database, upload):
        battery = upload(nominal_capacity=1.1)
        with pytest.raises(InvalidField, match=r"nominal_capacity: 1100 Ah does not fit .* is it mAh\?"):
            update_battery(battery.id, nominal_capacity=1100.0)
        assert row(1).nominal_capacity == 1.1

    def test_another_nominal_capacity_computes_health_and_features_again(self, database, upload, rows_of):
        battery = upload(nominal_capacity=1.1)
        before, old = rows_of(battery.id), recordings.latest_window(database.data, battery.id, 5)
        assert update_battery(battery.id, nominal_capacity=2.2).nominal_capacity == 2.2
        after, new = rows_of(battery.id), recordings.latest_window(database.data, battery.id, 5)
        assert [c.soh for c in after] == pytest.approx([c.soh / 2 for c in before])
        assert [c.id for c in after] == [c.id for c in before]
        assert [c.c_rate for c in after] == pytest.approx([c.c_rate / 2 for c in before])
        assert [c.energy_wh for c in after] == pytest.approx([c.energy_wh for c in before], rel=1e-5)
        rate = recordings.FEATURE_COLUMNS.index("f_charge_c_rate")
        assert new.features[:, rate] == pytest.approx(old.features[:, rate] / 2, rel=1e-5)

    def test_without_one_it_is_found_in_the_file_again(self, upload):
        found = upload().nominal_capacity
        battery = upload(nominal_capacity=3.0)
        again = update_battery(battery.id, nominal_capacity=None)
        assert again.nominal_capacity == pytest.approx(found, rel=1e-6)
        assert again.import_report["nominal_capacity_source"] == row(1).import_report["nominal_capacity_source"]

    def test_a_changed_battery_is_not_versioned_any_more(self, upload):
        battery = upload()
        with transaction() as session:
            from store.data_versions import record

            version = record(session, "a.dir", 1, 1)
            batteries.get(session, battery.id).data_version_id = version.id
        assert update_battery(battery.id, chemistry="LFP").data_version_id is None

    def test_changes_at_once_all_count(self, upload):
        battery = upload()
        updates = [{"manufacturer": "A"}, {"chemistry": "B"}, {"nominal_capacity": 2.0}]
        threads = [threading.Thread(target=update_battery, args=(battery.id,), kwargs=update) for update in updates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = row(battery.id)
        assert (after.manufacturer, after.chemistry, after.nominal_capacity) == ("A", "B", 2.0)

    @pytest.mark.parametrize("full", ["batteries", "cycles"])
    def test_one_that_fails_half_way_leaves_row_and_files_as_they_were(self, full, database, upload, monkeypatch):
        battery = upload(nominal_capacity=1.1)
        before = recordings.latest_window(database.data, battery.id, 5).features
        real = files.flush

        def flush(path):
            if path.name == full:
                monkeypatch.setattr(files, "flush", real)
                raise OSError("No space left on device")
            real(path)

        monkeypatch.setattr(files, "flush", flush)
        with pytest.raises(OSError, match="No space left"):
            update_battery(battery.id, nominal_capacity=2.2)
        assert row(battery.id).nominal_capacity == 1.1
        assert files.paths(database.data, 1)["description"].read_bytes() == to_json(row(battery.id))
        after = recordings.latest_window(database.data, battery.id, 5).features
        assert after == pytest.approx(before, rel=1e-3, abs=1e-3, nan_ok=True)
        assert sweeping.sweep() == []

    def test_of_a_battery_that_is_deleted_meanwhile_finds_none(self, upload, monkeypatch):
        battery, compute = upload(), changes.recompute

        def deleted_first(*arguments):
            delete_battery(battery.id)
            return compute(*arguments)

        monkeypatch.setattr(changes, "recompute", deleted_first)
        with pytest.raises(LookupError):
            update_battery(battery.id, nominal_capacity=2.2)

    def test_refuses_what_cannot_be(self, upload):
        battery = upload()
        with pytest.raises(InvalidField):
            update_battery(battery.id, nominal_capacity=-1.0)
        with pytest.raises(LookupError, match="99"):
            update_battery(99, chemistry="LFP")


@pytest.mark.usefixtures("database")
class TestDeleteBattery:
    def test_takes_rows_and_files(self, database, upload, tree, rows_of):
        keep, gone = upload(), upload()
        delete_battery(gone.id)
        assert tree(database.data) == ["batteries/1.json", "cycles/1.parquet", "raw/1.mat"]
        with reading() as session:
            assert batteries.missing(session, [keep.id, gone.id]) == [gone.id]
        assert rows_of(gone.id) == []

    def test_a_second_time_there_is_none(self, upload):
        delete_battery(upload().id)
        with pytest.raises(LookupError):
            delete_battery(1)


@pytest.mark.usefixtures("home")
class TestRefreshFeatures:
    def test_makes_old_features_new(self, home, upload, monkeypatch):
        battery = upload()
        with transaction() as session:
            batteries.get(session, battery.id).feature_version = 0
        assert changes.refresh_features(battery.id).feature_version == recordings.FEATURE_VERSION
        before = histories.history(home.data, battery.id, 0.8)
        monkeypatch.setattr(recordings, "FEATURE_VERSION", 99)
        with pytest.raises(recordings.StaleFeatures):
            recordings.latest_window(home.data, battery.id, 1)
        assert len(before) == 30


DYING = """
import os, signal, sys
from pathlib import Path
from store import changes, files
point = sys.argv[1]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if point == "removing":
    files.remove = die
    changes.delete_battery(1)
renames, real = [], Path.replace
def replace(*arguments):
    real(*arguments)
    renames.append(1)
    if len(renames) == int(point):
        die()
Path.replace = replace
changes.update_battery(1, nominal_capacity=2.2, chemistry="LFP")
"""


@pytest.mark.usefixtures("home")
class TestKilled:
    def die(self, home, point: str) -> None:
        killed = subprocess.run(
            [sys.executable, "-c", DYING, point],
            cwd=CHECKOUT,
            env=os.environ | {"BATTERY_HOME": str(home.home)},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    @pytest.mark.parametrize("point", ["1", "2"])
    def test_in_a_change_files_follow_the_row_after_the_sweep(self, point, home, upload):
        battery = upload(nominal_capacity=1.1)
        before = recordings.latest_window(home.data, 1, 30).features
        description = files.paths(home.data, 1)["description"]
        self.die(home, point)
        assert read(description)["chemistry"] == "LFP"
        assert sweeping.sweep()
        assert description.read_bytes() == to_json(row(battery.id))
        after = recordings.latest_window(home.data, 1, 30).features
        assert after == pytest.approx(before, rel=1e-3, abs=1e-3, nan_ok=True)
        assert sweeping.sweep() == []

    def test_in_a_removal_the_files_go_with_the_sweep(self, home, upload, tree):
        upload()
        self.die(home, "removing")
        assert len(tree(home.data)) == 3
        assert len(sweeping.sweep()) == 3
        assert tree(home.data) == []


@pytest.mark.usefixtures("home")
class TestSweep:
    def test_leaves_an_upload_on_its_way_alone(self, home, mat):
        with files.incoming(home.data) as folder:
            (folder / "received").write_bytes(mat.read_bytes())
            abandoned = home.data / files.INCOMING / "abandoned"
            abandoned.mkdir()
            assert sweeping.sweep() == ["removed unfinished upload abandoned"]
            assert (folder / "received").exists()

    def test_leaves_an_upload_alone_that_begins_at_that_moment(self, home, monkeypatch):
        make = files.tempfile.mkdtemp
        sweep = threading.Thread(target=sweeping.remove_abandoned, args=[home.data])

        def swept_at_once(**options):
            folder = make(**options)
            sweep.start()
            sweep.join(0.3)  # it has to wait until the folder is locked
            return folder

        monkeypatch.setattr(files.tempfile, "mkdtemp", swept_at_once)
        with files.incoming(home.data) as folder:
            sweep.join()
            assert folder.is_dir()

    def test_leaves_files_that_are_not_ours_alone(self, home, upload):
        upload()
        note = home.data / "raw" / "README.txt"
        note.write_text("mine")
        assert sweeping.sweep() == []
        assert note.exists()

    def test_leaves_the_files_alone_where_the_database_was_lost(self, home, upload, tree, caplog):
        upload()
        with transaction() as session:
            session.execute(delete(Battery))
        (home.home / "data.dvc").write_text("outs: []\n")
        assert sweeping.sweep() == []
        assert len(tree(home.data)) == 3
        assert "battery data pull" in caplog.text

    def test_says_loudly_what_it_cannot_repair(self, home, upload, caplog):
        upload()
        files.paths(home.data, 1)["cycles"].unlink()
        sweeping.sweep()
        assert "Battery 1 has lost its files" in caplog.text
