"""The tutorial's steps with curl."""

import json
import re

import pytest

JOB_KEYS = {
    "id",
    "status",
    "algorithm",
    "progress",
    "current_epoch",
    "total_epochs",
    "created_at",
    "started_at",
    "finished_at",
    "model_id",
}
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class TestCurlSteps:
    def test_step_1_gives_a_bearer_token_for_an_hour(self, walk):
        assert walk.login["token_type"] == "bearer"
        assert walk.login["expires_in"] == 3600
        assert walk.login["access_token"].count(".") == 2

    def test_step_2_uploads_the_battery(self, walk):
        assert set(walk.battery) >= walk.battery_keys
        assert walk.battery["filename"] == "battery_cell_001.mat"
        assert walk.battery["total_cycles"] == 60
        assert walk.battery["nominal_capacity"] == 1.1
        assert walk.battery["manufacturer"] == "Severson"
        assert walk.battery["chemistry"] == "LFP"
        assert UTC.fullmatch(walk.battery["created_at"])
        assert UTC.fullmatch(walk.battery["updated_at"])

    def test_step_3_reads_the_battery_back(self, walk):
        read = json.loads(walk.shell(walk.with_battery(walk.block("Step 3", "bash"))))
        stable = walk.battery_keys - {"updated_at"}
        assert {key: read[key] for key in stable} == {key: walk.battery[key] for key in stable}

    def test_step_4_shows_the_first_ten_cycles(self, walk):
        page = json.loads(walk.shell(walk.with_battery(walk.block("Step 4", "bash"))))
        assert page["meta"] == {"page": 1, "page_size": 10, "total": 60, "total_pages": 6}
        assert [cycle["cycle_index"] for cycle in page["items"]] == list(range(1, 11))
        first = page["items"][0]
        assert set(first) >= {"id", "battery_id", "cycle_index", "voltage", "current", "temperature", "soh", "rul"}
        assert first["battery_id"] == walk.battery["id"]
        assert len(first["voltage"]) == len(first["current"]) == len(first["temperature"]) > 0

    def test_step_5_queues_the_training_job(self, walk):
        assert set(walk.job) >= JOB_KEYS
        assert walk.job["status"] == "queued"
        assert walk.job["algorithm"] == "bilstm"
        assert (walk.job["progress"], walk.job["current_epoch"], walk.job["total_epochs"]) == (0.0, 0, 100)
        assert (walk.job["started_at"], walk.job["finished_at"], walk.job["model_id"]) == (None, None, None)

    def test_step_6_polling_sees_progress_grow_until_it_succeeded(self, walk):
        last = walk.polled[-1]
        assert last["status"] == "succeeded", last
        assert last["progress"] == 1.0
        assert UTC.fullmatch(last["started_at"])
        assert UTC.fullmatch(last["finished_at"])
        assert isinstance(last["model_id"], int)
        progress = [job["progress"] for job in walk.polled]
        assert progress == sorted(progress)
        assert all(set(job) >= JOB_KEYS for job in walk.polled)

    def test_step_7_gives_the_loss_curves(self, walk):
        assert walk.polled
        metrics = json.loads(walk.shell(walk.with_job(walk.block("Step 7", "bash"))))
        assert len(metrics["train_loss"]) == len(metrics["val_loss"]) == len(metrics["epochs"]) > 0
        assert metrics["epochs"] == sorted(set(metrics["epochs"]))
        assert metrics["train_loss"][-1] < metrics["train_loss"][0]

    def test_step_8_shows_the_model(self, walk):
        script = walk.block("Step 8", "bash").replace("models/8", f"models/{walk.model_id}")
        model = json.loads(walk.shell(script))
        assert set(model) >= {"id", "algorithm", "name", "version", "metrics", "created_at", "file_size"}
        assert (model["id"], model["algorithm"], model["name"]) == (walk.model_id, "bilstm", "bilstm-tutorial-model")
        assert re.fullmatch(r"\d+\.\d+\.\d+", model["version"])
        assert set(model["metrics"]) >= {"train_loss", "val_loss", "test_accuracy"}
        assert 0 <= model["metrics"]["test_accuracy"] <= 1
        assert model["file_size"] > 0

    def test_step_9_predicts(self, walk):
        assert set(walk.prediction) >= {"id", "algorithm", "model_id", "result", "created_at"}
        assert (walk.prediction["algorithm"], walk.prediction["model_id"]) == ("bilstm", walk.model_id)
        result = walk.prediction["result"]
        assert 0 <= result["soh"] <= 1
        assert result["rul"] >= 0
        assert 0 <= result["confidence"] <= 1

    def test_step_10_predicts_for_several_batteries_in_order(self, walk, cell):
        assert walk.model_id
        script = walk.with_battery(walk.block("Step 10", "bash")).replace(
            '"battery_id": 126', f'"battery_id": {cell["id"]}'
        )
        results = json.loads(walk.shell(script))["results"]
        assert len(results) == 2
        for answer in results:
            assert answer["algorithm"] == "bilstm"
            assert set(answer["result"]) >= {"soh", "rul", "confidence"}

    def test_troubleshooting_shows_the_logs(self, walk):
        assert walk.polled
        logs = json.loads(walk.shell(walk.with_job(walk.block("Training Failed", "bash"))))["logs"]
        assert logs
        for line in logs:
            assert set(line) >= {"timestamp", "level", "message"}
            assert UTC.fullmatch(line["timestamp"])

    @pytest.mark.parametrize("number", [0, 1])
    def test_troubleshooting_errors_read_as_documented(self, number, walk, stranger, api):
        heading = ("Authentication Failed", "File Upload Failed")[number]
        documented = json.loads(walk.block(heading, "json"))["error"]
        if number == 0:
            answer = stranger.login("nobody@example.com", "wrong")
        else:
            answer = api("POST", "/batteries", files={"file": ("battery.mat", b"not a MATLAB file")})
        error = answer.json()["error"]
        assert error["code"] == documented["code"]
        assert error["message"].startswith(documented["message"])
