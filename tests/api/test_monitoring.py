"""What became of a model's predictions."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.models.monitoring import drift, stability
from batteries.features import FEATURE_NAMES
from batteries.samples import synthetic_cell, write_mat
from store.session import transaction
from store.tables import Prediction


@pytest.fixture(scope="module")
def grown_cell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same synthetic cell after 12 cycles and after its whole life of 60."""
    folder = tmp_path_factory.mktemp("grown")
    whole = synthetic_cell(cycles=60, nominal_capacity_ah=1.1, seed=3)
    paths = folder / "young.mat", folder / "old.mat"
    write_mat(type(whole)(**{**vars(whole), "cycles": whole.cycles[:12]}), paths[0])
    write_mat(whole, paths[1])
    return paths


def monitoring(platform: Any, **query: Any) -> dict[str, Any]:
    answer = platform.http.get("/api/v1/models/1/monitoring", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def predict(platform: Any, *cycles: int, battery_id: int = 1) -> None:
    items = [{"algorithm": "bilstm", "battery_id": battery_id, "model_id": 1, "cycle_index": n} for n in cycles]
    answer = platform.http.post("/api/v1/predictions/batch", json={"requests": items})
    assert answer.status_code == 200, answer.text


def truth(platform: Any, battery_id: int) -> dict[int, tuple[float, float | None]]:
    items = platform.http.get(f"/api/v1/batteries/{battery_id}/cycles", params={"page_size": 100}).json()["items"]
    return {item["cycle_index"]: (item["soh"], item["rul"]) for item in items}


class TestMonitoring:
    def test_compares_with_what_was_measured_once_the_battery_has_lived_on(
        self, platform: Any, grown_cell: tuple[Path, Path]
    ) -> None:
        platform.upload(grown_cell[0], nominal_capacity="1.1")
        platform.add_model()
        predict(platform, 10, 11, 12, 12)  # the service says: SoH 0.87 (0.84-0.9), RUL 120.5 (80-160)
        (week,) = monitoring(platform)["weeks"]
        assert week["predictions"] == 3  # the same question counts once
        assert week["rul"] is None
        young = truth(platform, 1)
        expected = np.mean([abs(0.87 - young[index][0]) for index in (10, 11, 12)])
        assert week["soh"]["compared"] == 3
        assert week["soh"]["mean_absolute_error"] == pytest.approx(expected, abs=1e-6)
        assert week["soh"]["coverage_90"] == np.mean([0.84 <= young[index][0] <= 0.9 for index in (10, 11, 12)])

        platform.upload(grown_cell[1], nominal_capacity="1.1")
        old = truth(platform, 2)
        assert old[10][1], "the synthetic cell reaches its end of life"
        (week,) = monitoring(platform)["weeks"]
        errors = [120.5 - (old[index][1] or 0.0) for index in (10, 11, 12)]
        assert week["rul"]["compared"] == 3
        assert week["rul"]["bias"] == pytest.approx(np.mean(errors))
        assert week["rul"]["root_mean_square_error"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))

    def test_goes_by_weeks_newest_first_and_as_far_back_as_asked(self, platform: Any, mat_file: Path) -> None:
        platform.upload(mat_file, nominal_capacity="1.1")
        platform.add_model()
        predict(platform, 5)
        predict(platform, 6)
        with transaction() as session:
            row = session.get_one(Prediction, 1)
            row.created_at -= timedelta(weeks=3)
        weeks = monitoring(platform)["weeks"]
        assert [week["predictions"] for week in weeks] == [1, 1]
        assert weeks[0]["begins"] > weeks[1]["begins"]
        assert len(monitoring(platform, weeks=3)["weeks"]) == 1
        assert platform.http.get("/api/v1/models/1/monitoring", params={"weeks": 0}).status_code == 422
        assert platform.http.get("/api/v1/models/2/monitoring").status_code == 404

    def test_knows_drift_from_what_the_model_learned_from(self, platform: Any, grown_cell: tuple[Path, Path]) -> None:
        platform.upload(grown_cell[1], nominal_capacity="1.1")
        platform.add_model()  # it learned from battery 1
        predict(platform, *range(11, 61))
        told = monitoring(platform)
        assert told["trained_on_cycles"] == 60
        same = told["weeks"][0]["drift"]
        assert same["inputs"] == 50
        assert set(same["worst"]) <= set(FEATURE_NAMES)
        platform.http.delete("/api/v1/batteries/1")
        assert monitoring(platform)["weeks"][0]["drift"] is None


class TestStability:
    def test_is_the_sum_over_tenths(self) -> None:
        trained = np.arange(1000.0)
        assert stability(trained, trained) == pytest.approx(0.0)
        # all of 1000 in the last tenth: shares with half a count in each of 11 bins
        before = np.array([100.5] * 10 + [0.5]) / 1005.5
        now = np.array([0.5] * 9 + [1000.5, 0.5]) / 1005.5
        expected = np.sum((now - before) * np.log(now / before))
        assert stability(trained, np.full(1000, 999.0)) == pytest.approx(expected)
        assert expected > 0.25

    def test_counts_the_unknown(self) -> None:
        trained = np.arange(1000.0)
        assert stability(trained, np.full(1000, np.nan)) > 1
        assert stability(np.full(1000, np.nan), np.full(1000, np.nan)) == pytest.approx(0.0)

    def test_of_too_little_is_not_told(self) -> None:
        trained = np.zeros((100, len(FEATURE_NAMES)), dtype=np.float32)
        assert drift(trained, [[0.0] * len(FEATURE_NAMES)] * 19) is None
        assert drift(trained, [[0.0] * len(FEATURE_NAMES)] * 20) is not None
