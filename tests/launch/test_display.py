"""How the terminal counts and names things."""

import pytest

from launch.display import counted, lasting, numbered


class TestCounted:
    @pytest.mark.parametrize(
        ("count", "noun", "said"),
        [(0, "cycle", "0 cycles"), (1, "cycle", "1 cycle"), (1, "battery", "1 battery"), (2, "battery", "2 batteries")],
    )
    def test_one_is_not_many(self, count, noun, said):
        assert counted(count, noun) == said


class TestNumbered:
    @pytest.mark.parametrize(
        ("numbers", "said"),
        [
            ([7], "battery 7"),
            ([1, 2, 3], "batteries 1, 2, 3"),
            ([1, 2, 3, 4, 5], "batteries 1, 2, 3 and 2 more"),
        ],
    )
    def test_many_are_named_up_to_a_number(self, numbers, said):
        assert numbered("battery", numbers, 3) == said

    def test_all_are_named_without_one(self):
        assert numbered("version", range(1, 6)) == "versions 1, 2, 3, 4, 5"


class TestLasting:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(-1, "0 s"), (59.9, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (7530, "2 h 05 min")],
    )
    def test_is_said_in_the_two_largest_units(self, seconds, said):
        assert lasting(seconds) == said
