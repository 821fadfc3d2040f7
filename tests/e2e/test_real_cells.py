"""Real NASA cells through the real stack: what is read from them, and what is learned from them."""

import numpy as np
import pytest
import scipy.io

NOMINAL_AH = 2.0
END_OF_LIFE = 0.8


def recorded_capacities(path) -> np.ndarray:
    """Capacity in Ah of every discharge of a NASA file, as its own tester recorded it."""
    cell = scipy.io.loadmat(path, simplify_cells=True)[path.stem]
    return np.array([operation["data"]["Capacity"] for operation in cell["cycle"] if operation["type"] == "discharge"])


@pytest.fixture(scope="module")
def cycles(api):
    """Every cycle of a battery, over as many pages as it takes."""

    def read(battery: dict) -> list[dict]:
        pages = -(-battery["total_cycles"] // 50)
        path = f"/batteries/{battery['id']}/cycles"
        return [cycle for page in range(1, pages + 1) for cycle in api.get(path, page=page, page_size=50)["items"]]

    return read


class TestReading:
    def test_b0005_has_168_cycles_with_the_health_that_its_file_records(self, nasa, nasa_cells, cycles):
        battery = nasa_cells["B0005"]
        assert (battery["filename"], battery["total_cycles"]) == ("B0005.mat", 168)
        assert battery["nominal_capacity"] == NOMINAL_AH
        read = cycles(battery)
        assert [cycle["cycle_index"] for cycle in read] == list(range(1, 169))
        expected = recorded_capacities(nasa("B0005")) / NOMINAL_AH
        assert [cycle["soh"] for cycle in read] == pytest.approx(list(expected), abs=0.01)
        assert [cycle["capacity"] for cycle in read] == pytest.approx(list(expected * NOMINAL_AH), abs=0.02)

    def test_b0005_reaches_its_end_of_life_where_its_capacity_says(self, nasa, nasa_cells, cycles):
        soh = recorded_capacities(nasa("B0005")) / NOMINAL_AH
        end = int(np.flatnonzero(soh >= END_OF_LIFE)[-1]) + 2  # first cycle, counted from 1, from which all are below
        rul = [cycle["rul"] for cycle in cycles(nasa_cells["B0005"])]
        assert rul == pytest.approx([max(0, end - index) for index in range(1, 169)], abs=1)

    def test_arrays_are_as_long_as_each_other_with_signs_of_the_contract(self, nasa_cells, cycles):
        for cycle in cycles(nasa_cells["B0005"])[:5]:
            assert len(cycle["voltage"]) == len(cycle["current"]) == len(cycle["temperature"]) > 100
            current = np.array(cycle["current"], dtype=float)
            assert np.median(current[current > 1]) == pytest.approx(1.5, abs=0.05)  # charged at 1.5 A, then less
            assert np.median(current[current < -1]) == pytest.approx(-2.0, abs=0.05)  # discharged at 2 A
            assert np.nanmin(np.array(cycle["voltage"], dtype=float)) > 2.0

    def test_both_file_versions_of_b0006_give_the_same_battery(self, api, nasa, nasa_cells, cycles):
        hdf5 = api.upload(nasa("B0006_v73"))
        described = ("total_cycles", "nominal_capacity", "manufacturer", "chemistry")
        assert {key: hdf5[key] for key in described} == {key: nasa_cells["B0006"][key] for key in described}
        from_v5, from_v73 = cycles(nasa_cells["B0006"]), cycles(hdf5)
        assert len(from_v5) == len(from_v73) == 168
        for one, other in zip(from_v5, from_v73, strict=True):
            differing = {key for key in one if key not in {"id", "battery_id"} and one[key] != other[key]}
            assert not differing, (one["cycle_index"], differing)

    def test_a_truncated_real_file_is_refused(self, api, nasa, expect_error):
        whole = nasa("B0050").read_bytes()
        answer = api("POST", "/batteries", files={"file": ("B0050.mat", whole[: len(whole) // 2])})
        expect_error(answer, 400, "INVALID_FILE_FORMAT", "file")


@pytest.fixture(scope="module")
def job(api, nasa_cells) -> dict:
    ids = [battery["id"] for battery in nasa_cells.values()]
    return api.succeeded(api.train("bilstm", *ids, epochs=50), within=240)


class TestLearning:
    def test_fifty_epochs_beat_the_training_mean_on_the_cell_held_out(self, job, mlflow_run, nasa_cells, nasa):
        metrics = mlflow_run(job["id"])["metrics"]
        # The split is by cell: one teaches, one validates, one tests. Whichever: a model that always answers the
        # mean SoH of one cell errs on another by at least this much.
        soh = {name: np.clip(recorded_capacities(nasa(name)) / NOMINAL_AH, 0, 1) for name in nasa_cells}
        errors = [np.abs(soh[test] - soh[train].mean()).mean() for test in soh for train in soh if test != train]
        assert metrics["final_soh_mae"] < min(errors)
        assert metrics["final_soh_mae"] < metrics["final_soh_mae_training_mean"]
        assert min(errors) - 0.01 < metrics["final_soh_mae_training_mean"] < max(errors) + 0.01

    def test_the_loss_fell(self, job, api):
        metrics = api.get(f"/training-jobs/{job['id']}/metrics")
        assert metrics["epochs"] == list(range(1, 51))
        # The networks start from a regression, so that the first epoch is no guess either.
        assert min(metrics["val_loss"]) < 0.9 * metrics["val_loss"][0]
        assert metrics["train_loss"][-1] < metrics["train_loss"][0]

    def test_its_log_says_which_cells_were_held_out(self, job, api):
        text = " ".join(line["message"] for line in api.logs(job["id"])).lower()
        assert "held out" in text or "held-out" in text or "test" in text

    def test_its_prediction_is_near_the_truth(self, job, api, nasa, nasa_cells):
        for name, battery in nasa_cells.items():
            body = {"algorithm": "bilstm", "model_id": job["model_id"], "battery_id": battery["id"]}
            answer = api("POST", "/predictions", json=body)
            assert answer.status_code == 200, answer.text
            truth = recorded_capacities(nasa(name))[-1] / NOMINAL_AH
            assert answer.json()["result"]["soh"] == pytest.approx(truth, abs=0.1)
