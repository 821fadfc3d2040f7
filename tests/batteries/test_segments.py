import numpy as np
import pytest

from batteries import segments
from batteries.recordings import SAMPLE_COLUMNS, Cycle
from batteries.segments import blocks, known_samples

NAN = np.nan


def cycle(*time_s, voltage_v=None, current_a=None):
    count = len(time_s)
    columns = {"voltage_v": voltage_v, "current_a": current_a, "temperature_c": None}
    filled = {name: np.arange(float(count)) if column is None else column for name, column in columns.items()}
    return Cycle(index=1, time_s=np.array(time_s, dtype=float), **filled)


def joined(*cycles):
    [(_, found)] = blocks(cycles)
    return found


class TestBlocks:
    def test_hold_every_cycle_with_samples_once_and_in_order(self, monkeypatch):
        monkeypatch.setattr(segments, "BLOCK_SAMPLES", 4)
        cycles = [cycle(), cycle(1, 2, 3), cycle(4, 5), cycle(), cycle(6), cycle()]
        found = [(places.tolist(), block.time_s.tolist(), block.lengths.tolist()) for places, block in blocks(cycles)]
        assert found == [([1, 2], [1, 2, 3, 4, 5], [3, 2]), ([4], [6], [1])]

    def test_of_no_samples_are_none(self):
        assert list(blocks([cycle(), cycle()])) == []

    def test_one_large_cycle_is_not_copied(self):
        large = cycle(*range(10))
        assert all(np.shares_memory(getattr(joined(large), name), getattr(large, name)) for name in SAMPLE_COLUMNS)


class TestReductions:
    def test_are_of_each_segment_alone(self):
        found = joined(cycle(5, 7, 10), cycle(1), cycle(2, 1))
        assert found.steps_s.tolist() == [2, 3, 0, 0, 0, 0]  # a clock that runs back stands still
        assert found.sum(found.time_s).tolist() == [22, 1, 3]
        assert found.max(found.time_s).tolist() == [10, 1, 2]
        assert found.min(found.time_s).tolist() == [5, 1, 1]
        assert found.count(found.time_s > 4).tolist() == [3, 0, 0]
        assert found.spread(np.array([1, 2, 3])).tolist() == [1, 1, 1, 2, 3, 3]

    def test_of_unknown_values_pass_them_over(self):
        found = joined(cycle(NAN, 3), cycle(NAN))
        assert found.max(found.time_s).tolist() == pytest.approx([3, NAN], nan_ok=True)


class TestKnownSamples:
    def test_leave_out_what_lacks_a_column_and_segments_that_have_nothing_left(self):
        found, alive = known_samples(
            joined(cycle(1, 2), cycle(3, voltage_v=np.array([NAN])), cycle(4, 5, current_a=np.array([NAN, 0.0]))),
            "voltage_v",
            "current_a",
        )
        assert found.time_s.tolist() == [1, 2, 5]
        assert alive.tolist() == [0, 2]

    def test_untimed_samples_stay_where_none_of_the_segment_is_timed(self):
        found, alive = known_samples(joined(cycle(NAN, NAN), cycle(1, NAN, 3)), "voltage_v")
        assert found.time_s.tolist() == pytest.approx([NAN, NAN, 1, 3], nan_ok=True)
        assert alive.tolist() == [0, 1]
