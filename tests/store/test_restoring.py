from pathlib import Path

import pytest
from sqlalchemy import select

from store import batteries, files, recordings, restoring, sweeping, versions
from store.changes import delete_battery, update_battery
from store.descriptions import to_json
from store.dvc_objects import listing
from store.restoring import restore
from store.session import reading, transaction
from store.tables import Battery, DataVersion


class TestRestore:
    def test_brings_rows_and_files_back(self, database, upload, tree, stamps, behind, version_now):
        upload(nominal_capacity=1.1, chemistry="LFP")
        upload()
        names, window = tree(database.data), recordings.latest_window(database.data, 1, 30).features
        old = version_now()
        update_battery(1, nominal_capacity=2.0, chemistry="NMC")
        delete_battery(2)
        third = upload()
        restored = restore(old.dvc_hash)
        assert (restored.written, restored.removed) == ([1, 2], [third.id])
        assert tree(database.data) == names
        assert recordings.latest_window(database.data, 1, 30).features.tobytes() == window.tobytes()
        with reading() as session:
            first = batteries.get(session, 1)
            rows, total = batteries.cycles(session, first, limit=100)
        assert (first.chemistry, first.nominal_capacity, total) == ("LFP", 1.1, 30)
        assert rows[0].soh == pytest.approx(rows[0].capacity_ah / 1.1)
        assert stamps() == {1: old.id, 2: old.id}
        assert sweeping.sweep() == []
        assert not behind()

    def test_loses_nothing_that_was_not_versioned(self, database, upload, tree, version_now):
        upload()
        old = version_now()
        upload(chemistry="unversioned")
        names = tree(database.data)
        restore(old.dvc_hash)
        with reading() as session:
            unversioned = session.scalars(select(DataVersion.dvc_hash).where(DataVersion.battery_count == 2)).one()
        restore(unversioned)
        assert tree(database.data) == names
        with reading() as session:
            assert batteries.get(session, 2).chemistry == "unversioned"

    def test_new_batteries_get_new_ids_afterwards(self, database, upload, stamps, version_now):
        upload()
        old = version_now()
        upload()
        restore(old.dvc_hash)
        new = upload().id
        assert new > 2
        assert stamps() == {1: old.id, new: None}
        assert database.data.is_dir()

    def test_makes_rows_in_a_new_database_from_files_alone(self, database, upload, version_now):
        upload(chemistry="LFP")
        old = version_now()
        with transaction() as session:
            session.delete(batteries.get(session, 1))
            session.flush()
            session.delete(session.get(DataVersion, old.id))
        restore(old.dvc_hash)
        with reading() as session:
            assert batteries.get(session, 1).chemistry == "LFP"
        assert versions.version_everything().dvc_hash == old.dvc_hash
        assert database.data.is_dir()

    def test_an_upload_just_before_it_is_kept_in_a_version(self, database, upload, monkeypatch, version_now):
        upload()
        old = version_now()
        real, late = restoring.snapshot, []

        def snapshot():
            version = real()
            late.append(upload().id)
            return version

        monkeypatch.setattr(restoring, "snapshot", snapshot)
        assert restore(old.dvc_hash).removed == late
        with reading() as session:
            hashes = list(session.scalars(select(DataVersion.dvc_hash)))
        assert [f"raw/{late[0]}.mat" in listing(database, dvc_hash) for dvc_hash in hashes].count(True) == 1

    def test_a_change_just_before_it_is_undone_and_kept_in_a_version(self, database, upload, monkeypatch, version_now):
        upload(chemistry="LFP")
        old = version_now()
        real = restoring.snapshot

        def snapshot():
            version = real()
            update_battery(1, chemistry="late")
            return version

        monkeypatch.setattr(restoring, "snapshot", snapshot)
        assert restore(old.dvc_hash).written == [1]
        with reading() as session:
            assert batteries.get(session, 1).chemistry == "LFP"
            assert len(list(session.scalars(select(DataVersion)))) == 2

    def test_copies_nothing_while_it_keeps_writers_waiting(self, database, upload, monkeypatch, version_now):
        for _ in range(2):
            upload()
        old = version_now()
        for number in (1, 2):
            update_battery(number, chemistry="LFP")
        real, copied = restoring.shutil.copyfile, []

        def copyfile(source, target):
            with transaction() as session:  # on SQLite it would wait for itself inside another transaction
                session.get_one(Battery, 1).chemistry = "seen"
            if isinstance(target, Path):  # ours, not DVC's own copies to the cache
                copied.append(target.name)
            real(source, target)

        monkeypatch.setattr(restoring.shutil, "copyfile", copyfile)
        restore(old.dvc_hash)
        assert sorted(copied) == [f"{number}.{kind}" for number in (1, 2) for kind in ("cycles", "description", "raw")]

    def test_one_that_fails_half_way_leaves_all_as_it_was(self, database, upload, tree, monkeypatch, version_now):
        upload(chemistry="LFP")
        upload()
        old = version_now()
        update_battery(1, nominal_capacity=2.0)
        delete_battery(2)
        real = files.flush

        def flush(path):
            if path.name == "raw":
                raise OSError("No space left on device")
            real(path)

        monkeypatch.setattr(files, "flush", flush)
        with pytest.raises(OSError, match="No space left"):
            restore(old.dvc_hash)
        monkeypatch.setattr(files, "flush", real)
        with reading() as session:
            [first] = session.scalars(batteries.listing())
        assert first.nominal_capacity == 2.0
        assert files.paths(database.data, 1)["description"].read_bytes() == to_json(first)
        assert tree(database.data) == ["batteries/1.json", "cycles/1.parquet", "raw/1.mat"]
        assert sweeping.sweep() == []
