"""Models over HTTP: listed, downloaded, deleted; and how their versions count."""

from typing import Any

import pytest

from api.models.service import InFlight
from store.models import next_version

MODEL_KEYS = {"id", "algorithm", "name", "version", "metrics", "created_at", "file_size"}


class TestRead:
    def test_gives_the_keys_of_the_contract(self, platform: Any) -> None:
        model = platform.add_model(name="bilstm-tutorial-model")
        body = platform.http.get(f"/api/v1/models/{model.id}").json()
        assert body.keys() >= MODEL_KEYS
        assert (body["algorithm"], body["name"], body["version"]) == ("bilstm", "bilstm-tutorial-model", "1.0.0")
        assert body["metrics"] == {"train_loss": 0.15, "val_loss": 0.24, "test_accuracy": 0.92}
        assert body["run_id"] == "run-1"

    def test_lists_newest_first_and_by_algorithm(self, platform: Any) -> None:
        first, second = platform.add_model(), platform.add_model("baseline")
        listed = platform.http.get("/api/v1/models").json()
        assert [model["id"] for model in listed["items"]] == [second.id, first.id]
        bilstm = platform.http.get("/api/v1/models", params={"algorithm": "bilstm"}).json()
        assert [model["id"] for model in bilstm["items"]] == [first.id]
        assert platform.http.get("/api/v1/models", params={"algorithm": "x"}).status_code == 422

    def test_of_an_unknown_model_is_404(self, platform: Any) -> None:
        answer = platform.http.get("/api/v1/models/999")
        assert answer.json()["error"]["message"] == "Model with ID 999 not found"


class TestDownload:
    def test_passes_the_bytes_on_with_the_name_of_the_contract(self, platform: Any) -> None:
        model = platform.add_model()
        answer = platform.http.get(f"/api/v1/models/{model.id}/download")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="model_{model.id}_bilstm.pth"'
        assert int(answer.headers["Content-Length"]) == len(answer.content) == model.file_size
        assert answer.content == bytes(range(256)) * 40

    def test_while_mlflow_is_away_is_503(self, platform: Any) -> None:
        model = platform.add_model()
        platform.mlflow.away = True
        answer = platform.http.get(f"/api/v1/models/{model.id}/download")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")


class TestDelete:
    def test_hides_the_model_and_takes_it_out_of_the_registry(self, platform: Any, eventually: Any) -> None:
        model = platform.add_model()
        assert platform.http.delete(f"/api/v1/models/{model.id}").status_code == 204
        assert platform.http.get(f"/api/v1/models/{model.id}").status_code == 404
        assert platform.http.delete(f"/api/v1/models/{model.id}").status_code == 404
        assert platform.http.get("/api/v1/models").json()["meta"]["total"] == 0
        (run,) = eventually(lambda: platform.prefect.of("remove-model/remove-model"), 5, "removal asked for")
        assert run["parameters"] == {"model_id": model.id}

    def test_while_a_job_of_its_algorithm_is_on_is_409(self, platform: Any) -> None:
        model = platform.add_model()
        other = platform.add_job([1], "baseline")
        job = platform.add_job([1], "bilstm")
        answer = platform.http.delete(f"/api/v1/models/{model.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "MODEL_IN_USE")
        platform.event(job.id, "error", error_message="no")
        assert platform.http.delete(f"/api/v1/models/{model.id}").status_code == 204
        assert platform.http.get(f"/api/v1/training-jobs/{other.id}").json()["status"] == "queued"

    @pytest.mark.parametrize("by", ["id", "algorithm"])
    def test_while_a_prediction_uses_it_is_409(self, platform: Any, by: str) -> None:
        model = platform.add_model()
        in_flight: InFlight = platform.app.state.running.in_flight
        with in_flight.using(model.id if by == "id" else model.algorithm):
            answer = platform.http.delete(f"/api/v1/models/{model.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "MODEL_IN_USE")
        assert platform.http.delete(f"/api/v1/models/{model.id}").status_code == 204

    def test_while_the_service_computes_with_it_for_another_process_is_409(self, platform: Any) -> None:
        model = platform.add_model(mlflow_version="7")
        platform.serving.busy_with = ("7",)
        answer = platform.http.delete(f"/api/v1/models/{model.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "MODEL_IN_USE")
        platform.serving.away = True  # who is away uses nothing
        assert platform.http.delete(f"/api/v1/models/{model.id}").status_code == 204


class TestVersion:
    BEFORE = {"epochs": 100, "hidden_size": 64, "window": 16, "ensemble_size": 3}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("changed", "version"),
        [
            ({}, "2.3.5"),
            ({"epochs": 50}, "2.4.0"),
            ({"hidden_size": 32}, "3.0.0"),
            ({"window": 8, "epochs": 9}, "3.0.0"),
        ],
    )
    def test_moves_with_what_changed(self, changed: dict[str, int], version: str) -> None:
        assert next_version("2.3.4", self.BEFORE, self.BEFORE | changed) == version

    def test_counts_by_name(self, platform: Any) -> None:
        made = [platform.add_model(mlflow_version=str(n), name=name) for n, name in enumerate(["a", "a", "b", None])]
        assert [(model.name, model.version) for model in made] == [
            ("a", "1.0.0"),
            ("a", "1.0.1"),
            ("b", "1.0.0"),
            ("bilstm", "1.0.0"),
        ]
