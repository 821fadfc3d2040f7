import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from batteries.features import FEATURE_VERSION
from store import batteries, files, histories, recordings, refreshing
from store.session import reading, transaction


@pytest.fixture
def make_old(home):
    """Makes a battery look as an older version of the platform left it: other features, and capacity alone."""

    def age(battery_id: int) -> None:
        path = files.paths(home.data, battery_id)["cycles"]
        table = pq.read_table(path)
        kept = ["position", "cycle_index", "recorded_capacity_ah", "capacity_ah", *recordings.ARRAYS]
        said = recordings.metadata_of(pq.ParquetFile(path)) | {"feature_version": "1"}
        old = table.select(kept).append_column("f_charge_top_v", table.column("capacity_ah"))
        with pq.ParquetWriter(path, old.schema) as writer:
            writer.write_table(old)
            writer.add_key_value_metadata(said)
        with transaction() as session:
            batteries.get(session, battery_id).feature_version = 1

    return age


def version_of(battery_id):
    with reading() as session:
        return batteries.get(session, battery_id).feature_version


class TestRefreshStale:
    def test_old_features_are_computed_again_once(self, home, upload, make_old, rows_of):
        current, old = upload(), upload()
        expected = recordings.latest_window(home.data, old.id, 30).features
        energies = [row.energy_wh for row in rows_of(old.id)]
        make_old(old.id)
        with pytest.raises(recordings.StaleFeatures):
            recordings.latest_window(home.data, old.id, 30)

        assert refreshing.refresh_stale() == [f"computed the features of battery {old.id} again"]
        # the samples are kept as float32
        found = recordings.latest_window(home.data, old.id, 30).features
        assert found == pytest.approx(expected, rel=1e-2, abs=1e-3, nan_ok=True)
        assert [row.energy_wh for row in rows_of(old.id)] == pytest.approx(energies, rel=1e-5)
        assert version_of(old.id) == version_of(current.id) == FEATURE_VERSION

        written = files.paths(home.data, old.id)["cycles"].stat()
        assert refreshing.refresh_stale() == []
        assert files.paths(home.data, old.id)["cycles"].stat() == written

    def test_several_at_once_do_nothing_twice(self, upload, make_old):
        for _ in range(2):
            make_old(upload().id)
        done: list[str] = []
        threads = [threading.Thread(target=lambda: done.extend(refreshing.refresh_stale())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == [f"computed the features of battery {number} again" for number in (1, 2)]

    def test_a_battery_that_cannot_be_read_keeps_no_other_from_going_on(self, home, upload, make_old, caplog):
        broken, old = upload(), upload()
        for battery in (broken, old):
            make_old(battery.id)
        files.paths(home.data, broken.id)["cycles"].write_bytes(b"PAR1 no more")
        assert refreshing.refresh_stale() == [f"computed the features of battery {old.id} again"]
        assert version_of(broken.id) == 1
        assert f"battery {broken.id} cannot be computed again" in caplog.text


class TestHistories:
    def test_of_an_old_file_have_this_versions_features_and_leave_the_file_alone(self, home, upload, make_old):
        battery = upload()
        before = histories.history(home.data, battery.id, 0.8)
        make_old(battery.id)
        path = files.paths(home.data, battery.id)["cycles"]
        content = path.read_bytes()
        found = histories.history(home.data, battery.id, 0.8)
        assert found.features == pytest.approx(before.features, rel=1e-2, abs=1e-3, nan_ok=True)
        assert found.soh == pytest.approx(before.soh, rel=1e-5)
        assert np.array_equal(found.rul, before.rul, equal_nan=True)
        assert path.read_bytes() == content

    def test_of_a_current_file_are_what_it_holds(self, home, upload):
        battery = upload()
        kept = recordings.latest_window(home.data, battery.id, 1000)
        found = histories.history(home.data, battery.id, 0.8)
        assert found.features.tobytes() == kept.features.tobytes()
        assert found.cycle_index.tolist() == kept.cycle_index.tolist()
