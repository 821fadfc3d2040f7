import pytest

from store import files
from store.changes import delete_battery, update_battery
from store.dvc_objects import cached, listing
from store.verifying import Problem, verify
from store.versions import version_everything


@pytest.fixture
def remote_path(home):
    """Where the remote in ``var`` keeps an object."""

    def place(md5):
        return home.var / "dvc-remote" / "files" / "md5" / md5[:2] / md5[2:]

    return place


def spoil(path):
    """One byte of a protected file flips, as on a worn disk: neither size nor protection tell."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def told(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.where, problem.name, problem.issue) for problem in problems]


class TestVerify:
    def test_finds_nothing_wrong_with_what_was_never_touched(self, database, upload, version_now):
        upload()
        upload()
        version_now()
        delete_battery(1)
        version_now()
        seen = []
        found = verify(lambda done, total: seen.append((done, total)))
        assert found.problems == []
        assert (found.batteries, found.versions, found.unversioned, found.unpushed) == (1, 2, [], [])
        assert found.contents_read
        assert seen[-1] == (found.objects, found.objects)

    def test_what_is_not_done_yet_is_no_problem(self, home, upload, version_now):
        upload()
        upload()
        version_everything(push=False)
        update_battery(2, chemistry="LFP")
        found = verify()
        assert (found.problems, found.unversioned, found.unpushed) == ([], [2], [1])

    def test_of_an_empty_home_finds_nothing(self, home):
        assert verify().problems == []

    @pytest.mark.parametrize(
        ("kind", "issue"),
        [
            ("raw", "is not what its row says"),
            ("cycles", "is not what data version 1 has"),
            ("description", "is not what its row says"),
        ],
    )
    def test_finds_a_file_that_was_changed_by_hand(self, home, upload, version_now, kind, issue):
        upload()
        version_now()
        spoil(files.paths(home.data, 1)[kind])
        name = files.kinds(1)[kind]
        assert told(verify().problems) == [("data", name, issue)]
        assert verify().problems[0].cure == f"rm data/{name}, then battery data checkout 1"

    def test_finds_files_that_are_gone_or_nobodys(self, home, upload, version_now):
        upload()
        version_now()
        paths = files.paths(home.data, 1)
        paths["cycles"].rename(home.data / "cycles" / "7.parquet")
        assert told(verify().problems) == [
            ("data", "cycles/1.parquet", "is missing"),
            ("data", "cycles/7.parquet", "belongs to no battery"),
        ]

    def test_finds_damage_in_the_cache_and_on_the_remote(self, home, upload, version_now, remote_path):
        upload()
        names = listing(home, version_now().dvc_hash)
        spoil(cached(home, names["raw/1.mat"]))
        spoil(remote_path(names["cycles/1.parquet"]))
        assert told(verify().problems) == [
            ("cache", names["raw/1.mat"], "is damaged"),
            ("remote", names["cycles/1.parquet"], "is damaged"),
        ]

    def test_finds_what_the_remote_lost_and_what_nobody_has(self, home, upload, version_now, remote_path):
        upload()
        names = listing(home, version_now().dvc_hash)
        remote_path(names["raw/1.mat"]).unlink()
        remote_path(names["cycles/1.parquet"]).unlink()
        cached(home, names["cycles/1.parquet"]).unlink()
        assert sorted(told(verify().problems)) == [
            ("cache", names["cycles/1.parquet"], "neither the cache nor the remote has it; version 1 needs it"),
            ("remote", names["raw/1.mat"], "is missing"),
        ]

    def test_what_only_the_remote_has_is_no_problem(self, home, upload, version_now):
        upload()
        names = listing(home, version_now().dvc_hash)
        for md5 in names.values():
            cached(home, md5).unlink()
        assert verify().problems == []
