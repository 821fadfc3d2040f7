"""Numbers of models."""

import pytest

from models.versions import next_version

A, B = {"epochs": 100}, {"epochs": 50}


class TestNextVersion:
    @pytest.mark.parametrize(
        ("previous", "architecture", "asked", "expected"),
        [
            ([], 1, A, "1.0.0"),
            ([("1.0.0", A)], 1, A, "1.0.1"),
            ([("1.0.0", A)], 1, B, "1.1.0"),
            ([("1.0.0", A), ("1.0.1", A), ("1.1.0", B)], 1, B, "1.1.1"),
            ([("1.0.0", A), ("1.1.0", B)], 1, A, "1.2.0"),
            ([("1.9.0", A), ("1.10.0", B)], 1, B, "1.10.1"),
            ([("1.3.4", A)], 2, A, "2.0.0"),
            ([("1.0.0", None)], 1, A, "1.1.0"),
        ],
    )
    def test_what_changed_decides_which_number_moves(self, previous, architecture, asked, expected):
        assert next_version(previous, architecture, asked) == expected

    def test_refuses_what_is_no_version(self):
        with pytest.raises(ValueError, match=r"'1\.0' is not MAJOR.MINOR.PATCH"):
            next_version([("1.0", A)], 1, A)
