import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading

import pytest
from sqlalchemy import select

from store import adding, data_versions, files, histories, recordings, remotes, versions
from store.changes import delete_battery, update_battery
from store.descriptions import to_json
from store.dvc_objects import MissingObject, PushFailed, cached, listing, not_cached, objects_of
from store.dvc_repository import CONFIG, DVC_IGNORES, opened, prepare
from store.session import reading
from store.settings import CHECKOUT, get_settings
from store.tables import Battery, DataVersion
from store.versions import materialise, version_everything

END_OF_LIFE = 0.8


@pytest.mark.usefixtures("database")
class TestVersionEverything:
    def test_of_nothing_is_none(self):
        assert version_everything() is None

    def test_holds_every_file_and_stamps_every_battery(self, database, upload, tree, stamps, behind, version_now):
        upload()
        upload()
        version = version_now()
        assert version.battery_count == 2
        assert sorted(listing(database, version.dvc_hash)) == tree(database.data)
        assert stamps() == {1: version.id, 2: version.id}
        assert version.size_bytes == sum((database.data / name).stat().st_size for name in tree(database.data))
        assert f"md5: {version.dvc_hash}" in (database.home / "data.dvc").read_text()
        assert version.pushed_at is not None
        assert not behind()

    def test_leaves_the_workspace_as_it_is(self, database, upload, version_now):
        upload()
        before = {path: path.stat() for path in files.paths(database.data, 1).values()}
        version_now()
        assert {path: path.stat().st_ino for path in before} == {path: s.st_ino for path, s in before.items()}
        assert {path: path.stat().st_mode for path in before} == {path: s.st_mode for path, s in before.items()}

    def test_of_the_same_state_is_the_same_version(self, upload, version_now):
        upload()
        assert version_now().id == version_now().id

    def test_sees_changes_and_removals(self, upload, stamps, behind, version_now):
        upload()
        upload()
        first = version_now()
        update_battery(1, chemistry="LFP")
        assert behind()
        second = version_now()
        delete_battery(2)
        assert behind()
        third = version_now()
        assert len({first.dvc_hash, second.dvc_hash, third.dvc_hash}) == 3
        assert (third.battery_count, stamps()) == (1, {1: third.id})
        delete_battery(1)
        assert version_now().battery_count == 0

    def test_what_changes_while_it_is_copied_ahead_is_kept_as_it_was_and_as_it_is(
        self, database, upload, version_now, monkeypatch
    ):
        upload()
        before = files.paths(database.data, 1)["cycles"].read_bytes()
        real, ahead = adding.add_files, []

        def add_files(repo, places):
            if not ahead:
                update_battery(1, nominal_capacity=2.0)
            ahead.extend(places)
            return real(repo, places)

        monkeypatch.setattr(adding, "add_files", add_files)
        version = version_now()
        after = files.paths(database.data, 1)["cycles"].read_bytes()
        assert len(ahead) == 3
        assert before != after
        for content in (before, after):
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            assert cached(database, md5).read_bytes() == content
        assert listing(database, version.dvc_hash)["cycles/1.parquet"] == md5

    def test_what_is_new_alone_gives_what_dvc_add_gives(self, database, upload, tree):
        """After each change, pointer and listing are those of ``dvc add data``, byte for byte."""

        def changed(number):
            return update_battery(number, nominal_capacity=1.0 + number / 10)

        upload()
        version_everything()
        (database.data / "notes.txt").write_text("by hand, so not the platform's to see")
        steps = [upload, upload, lambda: changed(1), lambda: delete_battery(2), lambda: changed(3), lambda: changed(1)]
        for step in steps:
            step()
            made = version_everything(push=False)
            pointer = (database.home / "data.dvc").read_bytes()
            assert sorted(listing(database, made.dvc_hash)) == [n for n in tree(database.data) if n != "notes.txt"]
            (database.data / "notes.txt").rename(database.home / "notes.txt")
            with opened(database) as repo:
                added = adding.add_all(repo)
            (database.home / "notes.txt").rename(database.data / "notes.txt")
            assert (made.dvc_hash, made.size_bytes) == (added.dvc_hash, added.size_bytes)
            assert pointer == (database.home / "data.dvc").read_bytes()
        seen = version_everything(push=False, everything=True)
        assert "notes.txt" in listing(database, seen.dvc_hash)
        upload()
        kept = version_everything(push=False)
        assert "notes.txt" in listing(database, kept.dvc_hash)
        (database.data / "notes.txt").unlink()
        upload()
        gone = version_everything(push=False)
        assert sorted(listing(database, gone.dvc_hash)) == tree(database.data)

    def test_after_the_cache_was_lost_is_made_of_all_files_again(self, database, upload, tree, behind):
        upload()
        version_everything(push=False)
        shutil.rmtree(database.home / ".dvc" / "cache")
        upload()
        with pytest.raises(MissingObject):  # the first version is lost, and keeps the second one from nothing
            version_everything()
        assert not behind()
        with reading() as session:
            version = data_versions.newest(session)
        assert sorted(listing(database, version.dvc_hash)) == tree(database.data)
        assert not_cached(database, objects_of(database, version.dvc_hash)) == set()

    def test_leaves_out_uploads_on_their_way(self, database, upload, version_now):
        upload()
        with files.incoming(database.data) as folder:
            (folder / "received").write_bytes(b"half a file")
            version = version_now()
        assert len(listing(database, version.dvc_hash)) == 3


@pytest.mark.usefixtures("home")
class TestPush:
    def test_puts_every_byte_on_the_remote(self, home, upload, version_now):
        upload()
        version = version_now()
        remote = home.var / "dvc-remote" / "files" / "md5"
        for md5 in {version.dvc_hash, *listing(home, version.dvc_hash).values()}:
            assert (remote / md5[:2] / md5[2:]).read_bytes() == cached(home, md5).read_bytes()

    def test_a_version_kept_here_is_pushed_with_the_next(self, home, upload, behind, version_now):
        upload()
        first = version_everything(push=False)
        assert first.pushed_at is None
        assert behind()
        upload()
        version_now()
        shutil.rmtree(home.home / ".dvc" / "cache")
        assert len(listing(home, first.dvc_hash)) == 3
        with reading() as session:
            assert [v.pushed_at is None for v in session.scalars(select(DataVersion))] == [False, False]

    def test_one_that_fails_raises_and_is_made_up_for(self, home, upload, stamps, behind, version_now):
        upload()
        prepare(home)
        in_the_way = home.var / "dvc-remote" / "files"
        in_the_way.touch()
        with pytest.raises((OSError, PushFailed)):
            version_everything()
        assert behind()
        assert stamps() == {1: 1}
        in_the_way.unlink()
        assert version_now().pushed_at is not None
        assert not behind()

    def test_goes_to_the_remote_of_the_settings(self, home, upload, tmp_path, monkeypatch, version_now):
        upload()
        monkeypatch.setenv("BATTERY_DVC_REMOTE", str(tmp_path / "elsewhere"))
        get_settings.cache_clear()
        version = version_now()
        assert (tmp_path / "elsewhere" / "files" / "md5" / version.dvc_hash[:2] / version.dvc_hash[2:]).is_file()
        assert (home.home / ".dvc" / "config").read_text() == CONFIG
        monkeypatch.delenv("BATTERY_DVC_REMOTE")
        get_settings.cache_clear()
        upload()
        second = version_now()
        assert (home.var / "dvc-remote" / "files" / "md5" / second.dvc_hash[:2] / second.dvc_hash[2:]).is_file()

    def test_to_another_remote_than_before_is_complete_there(self, home, upload, tmp_path, monkeypatch, version_now):
        """Both versions hold the first battery: its bytes must not be taken for pushed."""
        upload()
        first = version_now()
        monkeypatch.setenv("BATTERY_DVC_REMOTE", str(tmp_path / "elsewhere"))
        get_settings.cache_clear()
        upload()
        second = version_now()
        shutil.rmtree(home.home / ".dvc" / "cache")
        for version in (first, second):
            remotes.pull([version.dvc_hash])
            assert not_cached(home, objects_of(home, version.dvc_hash)) == set()

    def test_one_version_that_nobody_has_any_more_is_said(self, home, upload, version_now):
        upload()
        first = version_everything(push=False)
        cached(home, listing(home, first.dvc_hash)["raw/1.mat"]).unlink()
        with pytest.raises(MissingObject, match=listing(home, first.dvc_hash)["raw/1.mat"]):
            remotes.push_everything()

    @pytest.mark.parametrize("gone", ["raw/1.mat", ""])
    def test_of_everything_copies_what_is_there_and_says_what_is_lost(self, home, upload, other_mat, gone):
        upload()
        first = version_everything(push=False)
        delete_battery(1)
        upload(other_mat)
        second = version_everything(push=False)
        lost = listing(home, first.dvc_hash)[gone] if gone else first.dvc_hash
        cached(home, lost).unlink()
        with pytest.raises(MissingObject, match=f"{lost}; the remote has every version but {first.id}$"):
            remotes.push_everything()
        with reading() as session:
            unpushed = session.scalars(select(DataVersion.id).where(DataVersion.pushed_at.is_(None))).all()
        assert unpushed == [first.id]
        shutil.rmtree(home.home / ".dvc" / "cache")
        remotes.pull([second.dvc_hash])
        assert not_cached(home, objects_of(home, second.dvc_hash)) == set()

    def test_of_everything_makes_up_for_what_the_remote_lost(self, home, upload, version_now):
        upload()
        version = version_now()
        lost = listing(home, version.dvc_hash)["cycles/1.parquet"]
        (home.var / "dvc-remote" / "files" / "md5" / lost[:2] / lost[2:]).unlink()
        seen = []
        remotes.push_everything(lambda done, total: seen.append((done, total)))
        with opened(home) as repo:
            assert set(repo.cloud.get_remote_odb(command="status").oids_exist([lost])) == {lost}
        assert seen[-1] == (1, 1)

    def test_under_way_keeps_no_training_job_waiting(self, upload, monkeypatch, version_now):
        upload()
        real, pushing, go_on = remotes.push_objects, threading.Event(), threading.Event()

        def push(*arguments):
            pushing.set()
            assert go_on.wait(30)
            real(*arguments)

        monkeypatch.setattr(remotes, "push_objects", push)
        pushes = threading.Thread(target=version_everything)
        pushes.start()
        try:
            assert pushing.wait(30)
            upload()
            pinned = []
            pins = threading.Thread(target=lambda: pinned.append(version_everything(push=False)))
            pins.start()
            pins.join(20)
            assert [version.battery_count for version in pinned] == [2]
        finally:
            go_on.set()
            pushes.join()
        assert version_now().pushed_at is not None


@pytest.mark.usefixtures("home")
class TestAtOnce:
    def test_six_processes_all_succeed(self, home, upload, version_now):
        for _ in range(3):
            upload()
        code = "from store import versions; print(versions.version_everything().dvc_hash)"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=CHECKOUT,
                env=os.environ | {"BATTERY_HOME": str(home.home)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(6)
        ]
        endings = [(*process.communicate(timeout=120), process.returncode) for process in processes]
        assert [status for *_, status in endings] == [0] * 6, endings
        assert {output for output, *_ in endings} == {f"{version_now().dvc_hash}\n"}

    def test_a_change_between_the_look_and_the_stamp_waits(self, home, upload, monkeypatch, stamps, version_now):
        upload()
        real, looks = versions.add_all, []
        changing = threading.Thread(target=update_battery, args=(1,), kwargs={"chemistry": "LFP"})

        def add(repo) -> adding.Added:
            added = real(repo)
            looks.append(added)
            changing.start()
            changing.join(1.0)  # it must not get through meanwhile
            return added

        monkeypatch.setattr(versions, "add_all", add)
        version_now()
        changing.join()
        assert len(looks) == 1
        assert stamps() == {1: None}
        assert check_stamps(home) == []

    def test_a_stamp_always_tells_the_truth(self, home, upload, behind, version_now):
        """While batteries come, change and go, whoever is stamped is in that version as it was stamped."""
        over = threading.Event()
        lies: list[str] = []

        def churn() -> None:
            for number in range(4):
                battery = upload()
                update_battery(battery.id, chemistry=f"C{number}")
                if number % 2:
                    delete_battery(battery.id)
            over.set()

        churning = threading.Thread(target=churn)
        churning.start()
        while not over.is_set():
            version = version_everything()
            if version is not None:
                lies += check_stamps(home)
        churning.join()
        version_now()
        assert lies + check_stamps(home) == []
        assert not behind()


def check_stamps(home) -> list[str]:
    """Stamped batteries whose version does not hold their description as it is."""
    with reading() as session:
        stamped = [
            (battery, session.get_one(DataVersion, battery.data_version_id).dvc_hash)
            for battery in session.scalars(select(Battery).where(Battery.data_version_id.is_not(None)))
        ]
    lies = []
    for battery, dvc_hash in stamped:
        names = listing(home, dvc_hash)
        md5 = names.get(f"batteries/{battery.id}.json")
        kept = cached(home, md5).read_bytes() if md5 else None
        if kept != to_json(battery) or f"cycles/{battery.id}.parquet" not in names:
            lies.append(f"battery {battery.id} in {dvc_hash}")
    return lies


@pytest.mark.usefixtures("home")
class TestMaterialise:
    def test_trains_to_the_same_history_whatever_happens_later(self, home, upload, tmp_path, version_now):
        upload(nominal_capacity=1.1)
        upload()
        before = [histories.history(home.data, number, END_OF_LIFE) for number in (1, 2)]
        pinned = version_now()
        update_battery(1, nominal_capacity=2.0, chemistry="LFP")
        delete_battery(2)
        materialise(pinned.dvc_hash, [1, 2], tmp_path / "pinned")
        after = histories.histories(tmp_path / "pinned", [1, 2], END_OF_LIFE)
        for then, now in zip(before, after, strict=True):
            assert then.features.tobytes() == now.features.tobytes()
            assert (then.soh.tobytes(), then.rul.tobytes()) == (now.soh.tobytes(), now.rul.tobytes())
            assert (then.nominal_capacity_ah, then.chemistry, then.cell) == (
                now.nominal_capacity_ah,
                now.chemistry,
                now.cell,
            )

    def test_copies_nothing_and_can_change_nothing(self, home, upload, tmp_path, version_now):
        upload()
        materialise(version_now().dvc_hash, [1], tmp_path / "pinned")
        link = recordings.path_of(tmp_path / "pinned", 1)
        assert link.is_symlink()
        assert stat.S_IMODE(link.stat().st_mode) & 0o222 == 0
        assert stat.S_IMODE((home.home / ".dvc" / "cache").stat().st_mode) == 0o700

    def test_pulls_what_this_machine_does_not_have(self, home, upload, tmp_path, version_now):
        upload()
        pinned = version_now()
        shutil.rmtree(home.home / ".dvc" / "cache")
        materialise(pinned.dvc_hash, [1], tmp_path / "pinned")
        assert len(histories.history(tmp_path / "pinned", 1, END_OF_LIFE)) == 30

    def test_believes_no_bytes_that_were_damaged_on_the_remote(self, home, upload, tmp_path, version_now):
        upload()
        pinned = version_now()
        md5 = listing(home, pinned.dvc_hash)["cycles/1.parquet"]
        shutil.rmtree(home.home / ".dvc" / "cache")
        damaged = home.var / "dvc-remote" / "files" / "md5" / md5[:2] / md5[2:]
        damaged.chmod(0o644)
        damaged.write_bytes(damaged.read_bytes()[:-1])
        with pytest.raises(MissingObject, match=md5):
            materialise(pinned.dvc_hash, [1], tmp_path / "pinned")

    def test_believes_no_half_copied_bytes_in_the_cache(self, home, upload, tmp_path, version_now):
        """What a killed pull may have left: DVC protects only what is whole."""
        upload()
        pinned = version_now()
        torn = cached(home, listing(home, pinned.dvc_hash)["cycles/1.parquet"])
        torn.chmod(0o644)
        torn.write_bytes(torn.read_bytes()[:100])
        materialise(pinned.dvc_hash, [1], tmp_path / "pinned")
        assert len(histories.history(tmp_path / "pinned", 1, END_OF_LIFE)) == 30

    def test_refuses_batteries_that_were_not_there(self, upload, tmp_path, version_now):
        upload()
        pinned = version_now()
        with pytest.raises(LookupError, match="cycles/7"):
            materialise(pinned.dvc_hash, [1, 7], tmp_path / "pinned")

    def test_says_which_version_nobody_has(self, upload, tmp_path, version_now):
        upload()
        version_now()
        with pytest.raises(MissingObject, match="0123456789abcdef"):
            materialise("0123456789abcdef0123456789abcdef.dir", [1], tmp_path / "pinned")


class TestCheckout:
    def test_carries_the_repository_that_a_new_home_would_get(self):
        assert (CHECKOUT / ".dvc" / "config").read_text() == CONFIG
        assert (CHECKOUT / ".dvcignore").read_text() == DVC_IGNORES

    def test_stays_clean_in_use(self):
        """Where the checkout is the home, git shows nothing that use writes but the pointer."""
        if not (CHECKOUT / ".git").exists():
            pytest.skip("not a git checkout")
        written = [
            "data/raw/1.mat",
            "var/battery.db",
            ".dvc/cache/files",
            ".dvc/tmp/lock",
            ".dvc/config.local",
        ]
        shown = subprocess.run(
            ["git", "check-ignore", "--no-index", *written], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        assert shown.stdout.split() == written
        tracked = subprocess.run(
            ["git", "ls-files", *written], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
        assert tracked.stdout == ""

    def test_points_to_an_empty_data_set_of_the_same_form(self, bare_home):
        prepare(bare_home)
        with opened(bare_home) as repo:
            added = adding.add_all(repo)
        committed = subprocess.run(
            ["git", "show", "HEAD:data.dvc"], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if committed.returncode:
            pytest.skip("not a git checkout")
        assert committed.stdout == (bare_home.home / "data.dvc").read_text()
        assert added.size_bytes == 0
