from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from batteries.cycles import cycle_scalars
from batteries.features import FEATURE_NAMES
from batteries.recordings import Cycle, Recording
from batteries.samples import synthetic_cell
from store import recording_writer, recordings

CYCLE = Cycle(3, *(np.arange(4.0) for _ in range(4)))


def numbered(count: int) -> np.ndarray:
    """Features of so many cycles: those of cycle n are n, n + 0.5, n + 1, …."""
    return np.arange(count, dtype=np.float32)[:, None] + np.arange(len(FEATURE_NAMES), dtype=np.float32) / 2


class TestWrite:
    @pytest.mark.parametrize("sizes", [[45], [1, 44], [20, 20, 5], [0, 19, 2, 24, 0]])
    def test_features_may_come_in_any_pieces(self, tmp_path, sizes):
        path, features = tmp_path / "cycles.parquet", numbered(45)
        recording = Recording((CYCLE,) * 45, layout="generic")
        pieces = np.split(features, np.cumsum(sizes)[:-1])
        recording_writer.write(path, recording, cycle_scalars(recording), iter(pieces), None)
        with pq.ParquetFile(path) as file:
            assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [20, 20, 5]
            np.testing.assert_array_equal(recordings.feature_matrix(file.read()), features)

    def test_row_groups_hold_what_their_cycles_say(self, tmp_path):
        path, recording = tmp_path / "cycles.parquet", synthetic_cell(cycles=47)
        scalars = cycle_scalars(recording)
        recording_writer.write(path, recording, scalars, [numbered(47)], 1.1)
        table = pq.read_table(path).to_pydict()
        assert table["position"] == list(range(47))
        assert table["cycle_index"] == [cycle.index for cycle in recording.cycles]
        assert table["energy_wh"] == scalars.energy_wh.tolist()
        assert table["complete"] == scalars.complete.tolist()
        assert table["voltage"][41] == recording.cycles[41].voltage_v.astype(np.float32).tolist()

    def test_a_long_life_has_a_bounded_number_of_row_groups(self, tmp_path):
        (tmp_path / "cycles").mkdir()
        path, recording = recordings.path_of(tmp_path, 1), Recording((CYCLE,) * 5001, layout="generic")
        recording_writer.write(path, recording, cycle_scalars(recording), [numbered(5001)], None)
        metadata = pq.read_metadata(path)
        assert metadata.num_row_groups <= recording_writer.MOST_GROUPS
        assert metadata.row_group(0).num_rows == 40  # whole pages: none lies in two groups
        assert len(recordings.cycle_arrays(tmp_path, 1, range(4990, 5001))["voltage"]) == 11

    def test_what_goes_wrong_while_a_group_is_written_is_raised(self, tmp_path):
        recording = Recording((*(CYCLE,) * 29, replace(CYCLE, index=2**40)), layout="generic")
        scalars = cycle_scalars(recording)
        with pytest.raises(OverflowError):
            recording_writer.write(tmp_path / "cycles.parquet", recording, scalars, [numbered(30)], None)


class TestRowsPerGroup:
    def test_cycles_of_very_many_samples_make_smaller_groups(self):
        assert recording_writer.rows_per_group(np.full(200, 4_000)) == 20
        assert recording_writer.rows_per_group(np.full(200, 100_000)) == 10
        assert recording_writer.rows_per_group(np.full(3, 10**7)) == 1
        assert recording_writer.rows_per_group(np.zeros(3)) == 20
