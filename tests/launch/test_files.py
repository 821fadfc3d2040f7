"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from launch.accounts import demo_password
from launch.files import make_whole


class TestMakeWhole:
    def test_a_file_that_was_not_finished_is_not_there(self, tmp_path):
        def torn(draft: Path) -> None:
            draft.write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make_whole(tmp_path / "cell.mat", torn)
        assert list(tmp_path.iterdir()) == []


class TestDemoPassword:
    def test_it_is_kept_and_only_its_owner_reads_it(self, tmp_path):
        password = demo_password(tmp_path)
        assert len(password) >= 12
        assert demo_password(tmp_path) == password
        assert (tmp_path / "demo_password").stat().st_mode & 0o777 == 0o600
