import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from batteries.cycles import SCALARS, cycle_scalars
from batteries.features import FEATURE_NAMES
from batteries.recordings import Cycle, Recording
from batteries.samples import synthetic_cell
from store import recording_writer, recordings
from store.settings import CHECKOUT

COUNT = 130  # more than one row group


def cycle(number: int) -> Cycle:
    """Cycle ``number`` has number + 1 samples; its voltages are number, number + 0.5, … and one of them is unknown."""
    steps = np.arange(number + 1.0)
    voltage = number + steps / 2
    voltage[-1] = np.nan
    recorded = None if number % 2 else 1.0
    return Cycle(number * 3, steps, voltage, -steps, np.full(number + 1, 25.0), recorded, 1.25, recorded)


@pytest.fixture
def data(tmp_path):
    """A data folder with battery 5: 130 cycles numbered 0, 3, 6, …; feature f of cycle n is 1000 f + n."""
    (tmp_path / "cycles").mkdir()
    recording = Recording(tuple(cycle(number) for number in range(COUNT)), "generic", cell="x", discharge_cut_off_v=2.5)
    capacity = np.where(np.arange(COUNT) % 2, np.nan, 1.0)
    features = 1000.0 * np.arange(len(FEATURE_NAMES)) + np.arange(COUNT)[:, None]
    scalars = replace(cycle_scalars(recording), capacity_ah=capacity, complete=np.arange(COUNT) % 3 > 0)
    recording_writer.write(recordings.path_of(tmp_path, 5), recording, scalars, [features[:50], features[50:]], 1.1)
    return tmp_path


class TestCycleArrays:
    @pytest.mark.parametrize("first", [0, 19, 60, COUNT - 20])
    def test_a_page_is_what_was_written(self, data, first):
        positions = range(first, first + 20)
        arrays = recordings.cycle_arrays(data, 5, positions)
        assert set(arrays) == {"voltage", "current", "temperature"}
        for voltage, current, position in zip(arrays["voltage"], arrays["current"], positions, strict=True):
            expected = cycle(position)
            np.testing.assert_array_equal(voltage, expected.voltage_v.astype(np.float32))
            np.testing.assert_array_equal(current, expected.current_a.astype(np.float32))

    def test_positions_need_not_follow_each_other(self, data):
        voltages = recordings.cycle_arrays(data, 5, [100, 3, 45], ["voltage"])["voltage"]
        assert [(len(voltage), voltage[0]) for voltage in voltages] == [(101, 100.0), (4, 3.0), (46, 45.0)]

    def test_unknown_samples_are_null_in_json(self, data):
        arrays = recordings.cycle_arrays(data, 5, [2], ["voltage"])
        assert orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY) == b'{"voltage":[[2.0,2.5,null]]}'

    def test_no_positions_read_nothing(self, tmp_path):
        assert recordings.cycle_arrays(tmp_path, 5, []) == {"voltage": [], "current": [], "temperature": []}

    def test_a_cycle_without_samples_is_empty(self, tmp_path):
        (tmp_path / "cycles").mkdir()
        none = Cycle(1, np.empty(0), np.empty(0), np.empty(0), np.empty(0))
        features = np.zeros((1, len(FEATURE_NAMES)))
        alone = Recording((none,), "generic")
        recording_writer.write(recordings.path_of(tmp_path, 1), alone, cycle_scalars(alone), [features], None)
        assert [len(voltage) for voltage in recordings.cycle_arrays(tmp_path, 1, [0])["voltage"]] == [0]

    def test_no_such_battery(self, data):
        with pytest.raises(FileNotFoundError):
            recordings.cycle_arrays(data, 6, [0])


class TestLatestWindow:
    def test_ends_at_the_last_cycle(self, data):
        window = recordings.latest_window(data, 5, 30)
        assert window.cycle_index.tolist() == [3 * n for n in range(100, 130)]
        assert window.features.shape == (30, len(FEATURE_NAMES))
        assert window.features[-1].tolist() == [1000.0 * f + 129 for f in range(len(FEATURE_NAMES))]

    def test_ends_where_asked_and_begins_with_the_record(self, data):
        window = recordings.latest_window(data, 5, 30, position=4)
        assert window.cycle_index.tolist() == [0, 3, 6, 9, 12]

    @pytest.mark.parametrize("position", [-1, COUNT])
    def test_no_such_position(self, data, position):
        with pytest.raises(IndexError, match="130 cycles"):
            recordings.latest_window(data, 5, 3, position=position)

    def test_features_of_another_version_are_refused(self, data, monkeypatch):
        monkeypatch.setattr(recordings, "FEATURE_VERSION", 99)
        with pytest.raises(recordings.StaleFeatures, match="99"):
            recordings.latest_window(data, 5, 3)


class TestFile:
    def test_opens_with_pandas_and_says_what_it_holds(self, data):
        table = pq.read_table(recordings.path_of(data, 5)).to_pandas()
        assert list(table.columns[:3]) == ["position", "cycle_index", "recorded_capacity_ah"]
        assert set(SCALARS) < set(table.columns)
        assert table["complete"].dtype == bool
        assert list(table.columns[-4:]) == ["time", "voltage", "current", "temperature"]
        assert table["capacity_ah"].isna().sum() == COUNT // 2
        assert table["voltage"].dtype == object
        assert table["voltage"][4].dtype == np.float32

    def test_is_read_as_the_documentation_reads_it(self, tmp_path, capsys):
        (tmp_path / "cycles").mkdir()
        recording = synthetic_cell(cycles=30)
        path = recordings.path_of(tmp_path, 1)
        features = np.zeros((30, len(FEATURE_NAMES)))
        recording_writer.write(path, recording, cycle_scalars(recording), [features], 1.1)
        example = (CHECKOUT / "docs" / "features.md").read_text().split('```python title="read"\n')[1].split("```")[0]
        exec(example.replace("data/cycles/1.parquet", str(path)), {})  # noqa: S102 - our own document
        assert capsys.readouterr().out == f"synthetic 1.1 30 {len(recording.cycles[9])}\n"

    def test_has_the_columns_that_are_documented(self, data):
        rows = (CHECKOUT / "docs" / "features.md").read_text().split("## The Parquet file")[1].splitlines()
        named = [row.split("|")[1] for row in rows if row.startswith("| `")]
        documented = re.findall(r"`([a-z_]+)`", " ".join(named))
        columns = pq.read_schema(recordings.path_of(data, 5)).names
        assert [name for name in columns if name not in SCALARS and not name.startswith("f_")] == [
            name for name in documented if name not in SCALARS
        ]
        assert set(columns) >= set(documented)

    def test_a_recording_comes_back(self, data):
        back = recordings.read_recording(recordings.path_of(data, 5))
        assert back.discharge_cut_off_v == 2.5
        assert (back.layout, back.cell, len(back)) == ("generic", "x", COUNT)
        assert back.cycles[77] == cycle(77)


class TestScalars:
    def test_are_what_was_written(self, data):
        found = recordings.scalars(recordings.path_of(data, 5))
        assert found["cycle_index"].tolist() == [3 * number for number in range(COUNT)]
        assert found["complete"].tolist() == [float(number % 3 > 0) for number in range(COUNT)]
        np.testing.assert_array_equal(found["capacity_ah"], np.where(np.arange(COUNT) % 2, np.nan, 1.0))

    def test_of_an_earlier_release_are_unknown_but_the_capacity(self, data, tmp_path):
        table = pq.read_table(recordings.path_of(data, 5))
        early = [name for name in table.column_names if name not in SCALARS or name == "capacity_ah"]
        pq.write_table(table.select(early), tmp_path / "early.parquet")
        found = recordings.scalars(tmp_path / "early.parquet")
        assert found["capacity_ah"][0] == 1.0
        assert np.isnan(found["energy_wh"]).all()
        assert np.isnan(found["complete"]).all()


class TestBatches:
    @pytest.mark.parametrize("positions", [range(COUNT), range(15, 27), [100, 3, 45], []])
    def test_hold_the_cycles_in_the_order_asked_for(self, data, positions):
        batches = list(recordings.batches(data, 5, positions, ["voltage", "time"]))
        lengths = [len(samples) for batch in batches for samples in batch.column(1).to_pylist()]
        assert lengths == [position + 1 for position in positions]

    def test_come_a_row_group_at_a_time(self, data):
        sizes = [batch.num_rows for batch in recordings.batches(data, 5, range(COUNT), ["voltage"])]
        assert sizes == [20] * 6 + [10]


class TestOpened:
    def test_a_file_that_was_renamed_over_is_read_as_it_is_now(self, data):
        recordings.cycle_arrays(data, 5, [3])
        recording = Recording((cycle(7), cycle(9)), "generic")
        features = np.zeros((2, len(FEATURE_NAMES)))
        recording_writer.write(data / "new.parquet", recording, cycle_scalars(recording), [features], None)
        (data / "new.parquet").replace(recordings.path_of(data, 5))
        assert len(recordings.cycle_arrays(data, 5, [1])["voltage"][0]) == 10


class TestImports:
    def test_writing_and_reading_load_no_pandas(self, data):
        code = f"""
import sys
from pathlib import Path
import numpy as np
from batteries.cycles import cycle_scalars
from store import recording_writer, recordings
data = Path({str(data)!r})
recording = recordings.read_recording(recordings.path_of(data, 5))
features = np.zeros((len(recording), len(recordings.FEATURE_COLUMNS)))
recording_writer.write(data / "again.parquet", recording, cycle_scalars(recording), [features], None)
recordings.cycle_arrays(data, 5, [100, 3])
recordings.latest_window(data, 5, 30)
recordings.scalars(data / "again.parquet")
list(recordings.batches(data, 5, range(100), ["time"]))
print(sorted(name for name in sys.modules if name in ("pandas", "scipy", "h5py", "sqlalchemy", "pydantic")))
"""
        output = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert output.stdout == "[]\n"
