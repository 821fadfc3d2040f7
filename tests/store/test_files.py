import os
import stat

from store.files import private_folder


class TestPrivateFolder:
    def test_every_folder_that_it_makes_is_this_users_alone(self, tmp_path):
        before = os.umask(0o022)
        try:
            made = private_folder(tmp_path / "home" / "var" / "jobs")
        finally:
            os.umask(before)
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made, made.parent, made.parent.parent)] == [
            0o700
        ] * 3

    def test_one_that_is_there_stays_as_it_is(self, tmp_path):
        tmp_path.chmod(0o755)
        assert private_folder(tmp_path) == tmp_path
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
