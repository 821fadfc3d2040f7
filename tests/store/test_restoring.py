import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import select

from batteries.windows import Windows, make_windows
from flows import claiming
from flows.pinning import Pinned, pin_data
from store import batteries, files, jobs, recordings, restoring, sweeping, versions
from store.changes import delete_battery, update_battery
from store.descriptions import to_json
from store.dvc_objects import listing
from store.restoring import BatteryInUse, IncompleteVersion, Outlook, outlook, restore
from store.session import reading, transaction
from store.settings import CHECKOUT
from store.tables import Battery, DataVersion

# A restore whose process is killed: before the first rename, after the first of them, or after the commit.
KILLED = """
import os, signal, sys
from pathlib import Path
from store import files, restoring
dvc_hash, moment = sys.argv[1:]

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def move_some(moves):
    for source, place in moves[:len(moves) // 2]:
        source.replace(place)
    die()

if moment == "after":
    files.remove = die
else:
    files.move_many_into_place = die if moment == "before" else move_some
restoring.restore(dvc_hash)
"""


class TestRestore:
    def test_brings_rows_and_files_back(self, database, upload, tree, stamps, behind, version_now, rows_of):
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
        rows = rows_of(1)
        assert (first.chemistry, first.nominal_capacity, len(rows)) == ("LFP", 1.1, 30)
        assert rows[0].soh == pytest.approx(rows[0].capacity_ah / 1.1)
        assert stamps() == {1: old.id, 2: old.id}
        assert sweeping.sweep() == []
        assert not behind()

    @pytest.mark.parametrize("deleted", [[2], [1, 2]])
    def test_keeps_the_bytes_of_equal_files_once(self, database, upload, version_now, deleted):
        first, second = (files.paths(database.data, upload().id)["raw"] for _ in range(2))
        content, old = first.read_bytes(), version_now()
        for battery_id in deleted:
            delete_battery(battery_id)
        restore(old.dvc_hash)
        assert first.samefile(second)
        assert second.read_bytes() == content

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

        def snapshot(**how):
            version = real(**how)
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

        def snapshot(**how):
            version = real(**how)
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
        names = [f"{number}.{kind}" for number in (1, 2) for kind in ("cycles", "description", "raw")]
        assert sorted(copied) == names[:-1]  # the second raw file has the bytes of the first one

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

    @pytest.mark.parametrize("moment", ["before", "between", "after"])
    def test_one_that_is_killed_is_finished_by_the_next(self, home, upload, tree, version_now, moment):
        upload(nominal_capacity=1.1, chemistry="LFP")
        upload()
        names, old = tree(home.data), version_now()
        update_battery(1, nominal_capacity=2.0)
        delete_battery(2)
        upload(chemistry="unversioned")
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, old.dvc_hash, moment],
            cwd=CHECKOUT,
            env=os.environ | {"BATTERY_HOME": str(home.home)},
            timeout=120,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        restore(old.dvc_hash)
        assert tree(home.data) == names
        assert sweeping.sweep() == []
        with reading() as session:
            first = batteries.get(session, 1)
            kept = session.scalars(select(DataVersion).where(DataVersion.id != old.id)).all()
        assert (first.nominal_capacity, first.chemistry) == (1.1, "LFP")
        [unversioned] = [v for v in kept if "raw/3.mat" in listing(home, v.dvc_hash)]
        restore(unversioned.dvc_hash)
        with reading() as session:
            assert batteries.get(session, 1).nominal_capacity == 2.0
            assert batteries.get(session, 2) is None
            assert batteries.get(session, 3).chemistry == "unversioned"
        assert len(kept) == 1, "what was half done is no version"
        assert sweeping.sweep() == []

    def test_refuses_to_take_a_battery_from_a_training_job(self, database, upload, version_now, tree):
        upload()
        old = version_now()
        upload()
        with transaction() as session:
            job = jobs.create(
                session, algorithm="baseline", battery_ids=[2], hyperparams={}, total_epochs=1, model_name=None
            )
        names = tree(database.data)
        with pytest.raises(BatteryInUse, match=f"training job {job.id} uses battery 2"):
            restore(old.dvc_hash)
        assert tree(database.data) == names
        with transaction() as session:
            jobs.request_stop(session, job.id)
        assert restore(old.dvc_hash).removed == [2]

    def test_refuses_a_version_that_lacks_a_file(self, home, upload, version_now, tree):
        upload()
        (home.data / "raw" / "1.mat").unlink()
        damaged = version_now()
        upload()
        names = tree(home.data)
        with pytest.raises(IncompleteVersion, match=r"lacks raw/1\.mat"):
            restore(damaged.dvc_hash)
        assert tree(home.data) == names

    def test_brings_back_a_file_that_was_lost_or_damaged(self, home, upload, version_now):
        upload()
        version = version_now()
        paths = files.paths(home.data, 1)
        raw = paths["raw"].read_bytes()
        paths["raw"].unlink()
        paths["cycles"].write_bytes(b"damaged")
        restore(version.dvc_hash)
        assert paths["raw"].read_bytes() == raw
        assert len(recordings.latest_window(home.data, 1, 30).cycle_index) == 30


class TestOutlook:
    def test_says_what_a_restore_would_do(self, home, upload, version_now):
        for _ in range(3):
            upload()
        old = version_now()
        update_battery(1, chemistry="LFP")
        delete_battery(2)
        upload()
        seen = outlook(old.dvc_hash)
        assert (seen.written, seen.removed, seen.unversioned) == ([1, 2], [4], [1, 4])
        done = restore(old.dvc_hash)
        assert (done.written, done.removed) == (seen.written, seen.removed)
        assert outlook(old.dvc_hash) == Outlook([], [], [])


class TestAfterwards:
    def test_training_gets_the_same_windows_bit_for_bit(self, home, upload, version_now, other_mat):
        """As a job pins them: from before, and from a restored version after an upload, a change and a removal."""
        upload(nominal_capacity=1.1, chemistry="LFP")
        upload(other_mat)
        old = version_now()
        before = pinned_windows([1, 2])
        update_battery(1, nominal_capacity=1.3, chemistry="NMC")
        delete_battery(2)
        upload(other_mat)
        version_now()
        changed = pinned_windows([1])
        restore(old.dvc_hash)
        after = pinned_windows([1, 2])
        assert data_version_of(after) == data_version_of(before) == old.dvc_hash
        for name in ("x", "mask", "cycle_index", "soh", "rul", "rul_lower_bound", "cell"):
            then, now = getattr(before[1], name), getattr(after[1], name)
            assert (then.dtype, then.shape, then.tobytes()) == (now.dtype, now.shape, now.tobytes()), name
        assert changed[1].soh.tobytes() != before[1].soh[: len(changed[1].soh)].tobytes()


def pinned_windows(battery_ids: list[int]) -> tuple[Pinned, Windows]:
    """What a training job on these batteries would learn from now."""
    with transaction() as session:
        job = jobs.create(
            session, algorithm="baseline", battery_ids=battery_ids, hyperparams={}, total_epochs=1, model_name=None
        )
    claim = claiming.claim(job.id, None)
    assert claim is not None
    pinned = pin_data(claim, Mock())
    windows = make_windows(pinned.histories, 16)
    with transaction() as session:
        jobs.request_stop(session, job.id)
    return pinned, windows


def data_version_of(pinned: tuple[Pinned, Windows]) -> str:
    return pinned[0].data_version
