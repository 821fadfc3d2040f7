"""A registered model: its row, its metrics, its file, MLflow's version and its answers speak of the same weights."""

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
import requests
import torch

ALGORITHMS = ("baseline", "bilstm", "deephpm")


@pytest.fixture(scope="module")
def jobs(api, cell, trained) -> dict[str, dict]:
    """A job of every algorithm that succeeded; the two that are not there yet train side by side."""
    ids = {algorithm: api.train(algorithm, cell["id"], epochs=4) for algorithm in ("bilstm", "deephpm")}
    return {"baseline": trained} | {algorithm: api.succeeded(job_id) for algorithm, job_id in ids.items()}


@pytest.fixture(scope="module")
def weights(jobs, api) -> dict[str, bytes]:
    """The file that each model's download gives."""
    found = {}
    for algorithm, job in jobs.items():
        answer = api("GET", f"/models/{job['model_id']}/download")
        assert answer.status_code == 200, answer.text[:300]
        assert answer.headers["Content-Type"] == "application/octet-stream"
        name = f'attachment; filename="model_{job["model_id"]}_{algorithm}.pth"'
        assert answer.headers["Content-Disposition"] == name
        found[algorithm] = answer.content
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestTheSameWeights:
    def test_the_model_says_how_large_its_download_is(self, algorithm, jobs, weights, api, row):
        model = api.get(f"/models/{jobs[algorithm]['model_id']}")
        assert set(model) >= {"id", "algorithm", "name", "version", "metrics", "created_at", "file_size"}
        assert model["algorithm"] == algorithm
        assert re.fullmatch(r"\d+\.\d+\.\d+", model["version"])
        assert model["file_size"] == len(weights[algorithm])
        assert row("models", model["id"])["sha256"] == hashlib.sha256(weights[algorithm]).hexdigest()

    def test_the_registered_version_holds_these_bytes(self, algorithm, jobs, weights, stack, row, tmp_path):
        import mlflow

        registered = row("models", jobs[algorithm]["model_id"])
        client = mlflow.MlflowClient(stack.mlflow, stack.mlflow)
        version = client.get_model_version(algorithm, registered["mlflow_version"])
        run_id = row("jobs", jobs[algorithm]["id"])["mlflow_run_id"]
        assert version.run_id == registered["mlflow_run_id"] == run_id
        mlflow.set_tracking_uri(stack.mlflow)
        folder = mlflow.artifacts.download_artifacts(f"models:/{algorithm}/{version.version}", dst_path=str(tmp_path))
        files = list(tmp_path.rglob("model.pth"))
        assert files, folder
        assert {file.read_bytes() for file in files} == {weights[algorithm]}

    def test_the_model_and_the_run_have_the_same_metrics(self, algorithm, jobs, api, mlflow_run):
        said = api.get(f"/models/{jobs[algorithm]['model_id']}")["metrics"]
        logged = mlflow_run(jobs[algorithm]["id"])
        assert set(said) >= {"train_loss", "val_loss", "test_accuracy"}
        assert logged["status"] == "FINISHED"
        for name in ("train_loss", "val_loss", "test_accuracy"):
            final = logged["metrics"][
                f"final_{name}"
            ]  # without the prefix: the last epoch's, which may not be the best
            assert said[name] == pytest.approx(final, rel=1e-6, abs=1e-9), name

    def test_the_completed_job_said_the_models_metrics(self, algorithm, jobs, api):
        messages, _ = api.follow(jobs[algorithm]["id"], within=20)
        final, said = messages[-1]["final_metrics"], api.get(f"/models/{jobs[algorithm]['model_id']}")["metrics"]
        for name in ("train_loss", "val_loss"):
            assert final[name] == pytest.approx(said[name], rel=1e-6)

    def test_the_download_opens_without_pickle(self, algorithm, weights, tmp_path):
        path = tmp_path / "model.pth"
        path.write_bytes(weights[algorithm])
        assert torch.load(path, weights_only=True, map_location="cpu")

    def test_the_download_answers_what_the_service_answers(self, algorithm, jobs, weights, stack, api, cell, tmp_path):
        from models.bundle import ModelBundle

        path = tmp_path / "model.pth"
        path.write_bytes(weights[algorithm])
        bundle = ModelBundle.load(path)
        table = pd.read_parquet(stack.home / "data" / "cycles" / f"{cell['id']}.parquet")
        features = table[[name for name in table.columns if name.startswith("f_")]].to_numpy(dtype=np.float32)
        (answer,) = bundle.predict([features], [table["cycle_index"].to_numpy(dtype=float)], ["LFP"])
        body = {"algorithm": algorithm, "model_id": jobs[algorithm]["model_id"], "battery_id": cell["id"]}
        served = api("POST", "/predictions", json=body)
        assert served.status_code == 200, served.text
        result = served.json()["result"]
        assert result["soh"] == pytest.approx(answer.soh, abs=1e-4)
        assert result["rul"] == pytest.approx(answer.rul, rel=1e-3, abs=1e-2)
        assert result["confidence"] == pytest.approx(answer.confidence, abs=1e-3)


class TestListing:
    def test_models_are_listed_and_filtered_by_algorithm(self, api, jobs):
        for algorithm, job in jobs.items():
            page = api.get("/models", algorithm=algorithm, page_size=100)
            assert job["model_id"] in [model["id"] for model in page["items"]]
            assert {model["algorithm"] for model in page["items"]} == {algorithm}
            assert page["meta"]["total"] == len(page["items"])

    def test_an_unknown_algorithm_is_422(self, api, expect_error):
        expect_error(api("GET", "/models", params={"algorithm": "oracle"}), 422, "VALIDATION_ERROR", "algorithm")

    def test_the_first_model_of_an_algorithm_became_champion(self, stack, jobs):
        assert jobs
        for algorithm in ALGORITHMS:
            query = {"name": algorithm, "alias": "champion"}
            answer = requests.get(f"{stack.mlflow}/api/2.0/mlflow/registered-models/alias", params=query, timeout=20)
            assert answer.status_code == 200, answer.text


class TestPredicting:
    def test_without_a_model_the_champion_answers(self, stack, api, cell, jobs, row):
        assert jobs
        query = {"name": "bilstm", "alias": "champion"}
        url = f"{stack.mlflow}/api/2.0/mlflow/registered-models/alias"
        champion = requests.get(url, params=query, timeout=20).json()["model_version"]["version"]
        answer = api("POST", "/predictions", json={"algorithm": "bilstm", "battery_id": cell["id"]})
        assert answer.status_code == 200, answer.text
        assert row("models", answer.json()["model_id"])["mlflow_version"] == champion

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("with_temperature", [True, False], ids=["temperature", "no temperature"])
    def test_one_cycle_is_enough(self, api, cell, jobs, algorithm, with_temperature):
        (cycle,) = api.get(f"/batteries/{cell['id']}/cycles", cycle_index=10)["items"]
        data = {"voltage": cycle["voltage"], "current": cycle["current"]}
        if with_temperature:
            data["temperature"] = cycle["temperature"]
        body = {"algorithm": algorithm, "model_id": jobs[algorithm]["model_id"], "cycle_data": data}
        answer = api("POST", "/predictions", json=body)
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        assert 0 <= result["soh"] <= 1
        assert result["rul"] >= 0
        assert 0 <= result["confidence"] <= 1

    def test_fifty_at_once_come_back_in_the_order_asked(self, api, cell, jobs):
        wanted = [ALGORITHMS[number % 3] for number in range(50)]
        items = [{"algorithm": name, "model_id": jobs[name]["model_id"], "battery_id": cell["id"]} for name in wanted]
        answer = api("POST", "/predictions/batch", json={"requests": items})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert [result["algorithm"] for result in results] == wanted
        assert [result["model_id"] for result in results] == [item["model_id"] for item in items]
        by_algorithm = {name: {r["result"]["soh"] for r in results if r["algorithm"] == name} for name in ALGORITHMS}
        for name, answers in by_algorithm.items():
            assert max(answers) - min(answers) < 1e-5, name

    def test_looks_back_ahead_and_inside(self, api, cell, jobs):
        body = {"algorithm": "bilstm", "model_id": jobs["bilstm"]["model_id"], "battery_id": cell["id"]}
        asked = body | {"cycle_index": 30, "forecast": True, "explain": True}
        made = api("POST", "/predictions", json=asked).json()
        assert made["cycle_index"] == 30
        told = made["result"]["forecast"]
        assert told["cycle_index"][0] == 30
        assert told["soh"][0] == pytest.approx(made["result"]["soh"], abs=1e-5)
        assert len(made["result"]["explanation"]) > 0
        again = api("POST", "/predictions", json=asked).json()
        assert again["cached"] is True
        assert again["result"] == made["result"]
        assert api.get(f"/predictions/{made['id']}")["result"] == made["result"]

    def test_monitoring_compares_with_what_was_measured(self, api, cell, jobs):
        model_id = jobs["deephpm"]["model_id"]
        body = {"algorithm": "deephpm", "model_id": model_id, "battery_id": cell["id"]}
        made = api("POST", "/predictions", json=body | {"cycle_index": 20}).json()
        (week,) = api.get(f"/models/{model_id}/monitoring")["weeks"]
        kept = api.get("/predictions", model_id=model_id, battery_id=cell["id"], page_size=100)["items"]
        assert made["id"] in [item["id"] for item in kept]
        assert week["soh"]["compared"] == len({item["input_hash"] for item in kept})
        assert week["soh"]["mean_absolute_error"] < 0.5

    def test_every_answer_is_kept(self, api, cell, jobs):
        body = {"algorithm": "baseline", "model_id": jobs["baseline"]["model_id"], "battery_id": cell["id"]}
        before = api.get("/predictions")["meta"]["total"]
        made = api("POST", "/predictions", json=body).json()
        after = api.get("/predictions", page_size=100)
        assert after["meta"]["total"] == before + 1
        assert made["id"] in [kept["id"] for kept in after["items"]] or after["meta"]["total_pages"] > 1


class TestDeleting:
    def test_a_deleted_model_is_gone_everywhere(self, api, cell, row, stack, expect_error, eventually):
        job = api.succeeded(api.train("baseline", cell["id"], epochs=1, seed=7))
        registered = row("models", job["model_id"])
        path = f"/models/{job['model_id']}"
        deleted = api("DELETE", path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        expect_error(api("GET", path), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("GET", f"{path}/download"), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("DELETE", path), 404, "RESOURCE_NOT_FOUND")
        body = {"algorithm": "baseline", "model_id": job["model_id"], "battery_id": cell["id"]}
        expect_error(api("POST", "/predictions", json=body), 404, "RESOURCE_NOT_FOUND")
        assert job["model_id"] not in [model["id"] for model in api.get("/models", page_size=100)["items"]]
        url = f"{stack.mlflow}/api/2.0/mlflow/model-versions/get"
        query = {"name": "baseline", "version": registered["mlflow_version"]}
        eventually(
            lambda: requests.get(url, params=query, timeout=20).status_code == 404,
            within=60,
            what="the version gone from MLflow",
        )
