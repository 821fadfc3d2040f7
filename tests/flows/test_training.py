import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest
import requests

from flows import claiming, training
from models.registry import Registry
from store import jobs
from store import models as model_rows
from store.session import reading, transaction
from store.tables import Model


@pytest.fixture
def registry(home) -> Registry:
    return Registry(home.mlflow, home.var / "reading")


@pytest.fixture
def versions_of(registry):
    """Registered versions that came of a run of MLflow."""
    return lambda run_id: registry.client.search_model_versions(f"run_id = '{run_id}'")


@pytest.fixture
def models():
    """Rows of all models."""

    def read() -> list[Model]:
        with reading() as rows:
            return list(rows.query(Model))

    return read


class TestRun:
    def test_a_job_becomes_a_model_in_the_registry_and_among_the_rows(
        self, home, battery, submit, job, events, models, registry, versions_of
    ):
        job_id = submit([battery(seed=1), battery(seed=2)])
        assert training.run(job_id) == "succeeded"

        row = job(job_id)
        [model] = models()
        assert (row.status, row.progress, row.current_epoch, row.model_id) == ("succeeded", 1.0, 2, model.id)
        assert row.mlflow_run_id == model.mlflow_run_id
        [version] = versions_of(row.mlflow_run_id)
        assert (version.name, version.version) == ("baseline", model.mlflow_version)

        weights = requests.get(f"{home.mlflow}/api/2.0/mlflow-artifacts/artifacts/{model.artifact_path}", timeout=10)
        assert (len(weights.content), hashlib.sha256(weights.content).hexdigest()) == (model.file_size, model.sha256)

        run = registry.client.get_run(row.mlflow_run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["battery.data_version"] == model.data_version
        assert [metric.step for metric in registry.client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2]
        assert not claiming.folder(job_id).exists()

    def test_a_number_that_another_job_took_meanwhile_is_corrected_in_mlflow(
        self, battery, submit, job, models, versions_of, monkeypatch
    ):
        true, forecasts = model_rows.name_and_version, iter([("baseline", "7.0.0")])
        monkeypatch.setattr(model_rows, "name_and_version", lambda *asked: next(forecasts, None) or true(*asked))
        job_id = submit([battery(seed=1)])
        assert training.run(job_id) == "succeeded"
        [model], [version] = models(), versions_of(job(job_id).mlflow_run_id)
        assert (version.tags["battery.name"], version.tags["battery.version"]) == (model.name, model.version)
        assert model.version == "1.0.0"

    def test_its_events_tell_the_whole_story_in_order(self, battery, submit, events):
        job_id = submit([battery(seed=1)])
        training.run(job_id)
        told = events(job_id)
        epochs = [event.payload["current_epoch"] for event in told if event.type == "progress"]
        assert epochs == [0, 1, 2]
        assert told[-1].type == "complete"
        assert set(told[-1].payload["final_metrics"]) == {"train_loss", "val_loss"}
        said = " / ".join(event.payload["message"] for event in told if event.type == "log")
        parts = ("Starting", "Data version", "Split", "Device", "Epoch 1/2", "Epoch 2/2", "Held out", "Registered as")
        assert sorted(parts, key=said.index) == list(parts)

    def test_notes_which_run_of_prefect_it_is(self, battery, submit, job):
        job_id = submit([battery(cycles=3)])
        training.run(job_id, flow_run_id="9d0c5a52-6d14-4d0c-8f3e-0a7c1d6e2b11")
        assert job(job_id).flow_run_id == "9d0c5a52-6d14-4d0c-8f3e-0a7c1d6e2b11"

    def test_a_job_that_is_over_is_left_alone(self, battery, submit, events):
        job_id = submit([battery()])
        with transaction() as rows:
            jobs.request_stop(rows, job_id)
        before = len(events(job_id))
        assert training.run(job_id) == "left"
        assert len(events(job_id)) == before
        assert not claiming.folder(job_id).exists()

    def test_a_job_that_another_process_trains_is_left_alone(self, battery, submit, job, monkeypatch):
        monkeypatch.setattr(training, "LOCK_WITHIN_S", 0.0)
        job_id = submit([battery()])
        with claiming.held(job_id, within_s=0) as ours:
            assert ours
            assert training.run(job_id) == "left"
        assert job(job_id).status == "queued"


class TestFailing:
    def test_useless_data_fail_the_job_with_a_reason_that_names_the_battery(self, battery, submit, job, events, models):
        battery_id = battery(cycles=3)
        job_id = submit([battery_id])
        assert training.run(job_id) == "failed"
        row = job(job_id)
        assert row.status == "failed"
        assert f"battery {battery_id}" in row.error_message
        told = events(job_id)
        assert told[-1].type == "error"
        lines = {event.payload["level"]: event.payload["message"] for event in told if event.type == "log"}
        assert lines["ERROR"] == row.error_message
        assert "Traceback" in lines["DEBUG"]
        assert "UnusableData" in lines["DEBUG"]
        assert "models.training:" in lines["DEBUG"]
        assert models() == []
        assert not claiming.folder(job_id).exists()

    def test_a_loss_that_is_no_number_fails_the_job_with_what_to_try(
        self, battery, submit, job, events, models, monkeypatch
    ):
        monkeypatch.setattr("models.network.data_loss", lambda out, _: out.sum() * float("nan"))
        job_id = submit([battery()], epochs=3)
        assert training.run(job_id) == "failed"
        assert "no longer a finite number in epoch 1; a learning rate below 0.001 may help" in job(job_id).error_message
        assert events(job_id)[-1].type == "error"
        assert (job(job_id).current_epoch, models()) == (0, [])

    def test_a_battery_deleted_meanwhile_fails_the_job(self, battery, submit, job):
        job_id = submit([battery(), 99])
        assert training.run(job_id) == "failed"
        assert job(job_id).error_message == "deleted before training started: battery 99"

    def test_paths_and_statements_stay_in_the_servers_log(self, battery, submit, job, events):
        place = "/srv/secret/place"

        def step(name, work):
            raise OSError(28, "No space left on device", place)

        job_id = submit([battery()])
        assert training.run(job_id, step) == "failed"
        assert job(job_id).error_message == "Unexpected OSError: No space left on device"
        said = str([event.payload for event in events(job_id)])
        assert "/srv" not in said
        assert ".py" not in said

    def test_the_debug_line_says_what_caused_it_too(self, battery, submit, events):
        def step(name, work):
            try:
                return {}["cause"]
            except KeyError as error:
                raise RuntimeError("effect") from error

        job_id = submit([battery()])
        assert training.run(job_id, step) == "failed"
        [said] = [e.payload["message"] for e in events(job_id) if e.payload.get("level") == "DEBUG"]
        lines = said.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines.index("KeyError") < lines.index("which led to") < lines.index("RuntimeError")
        assert any(line.endswith('return {}["cause"]') for line in lines)

    @pytest.mark.parametrize("step_that_fails", ["promote", "complete"])
    def test_after_registration_takes_everything_back(
        self, step_that_fails, battery, submit, job, models, registry, versions_of
    ):
        batteries = [battery(seed=3), battery(seed=4)]
        assert training.run(submit(batteries)) == "succeeded"
        [before] = models()
        registry.set_alias("baseline", "champion", before.mlflow_version)
        job_id = submit(batteries, batch_size=16)

        def step(name, work):
            if name == step_that_fails:
                [version] = versions_of(job(job_id).mlflow_run_id)
                registry.set_alias("baseline", "champion", version.version)
                raise OSError("MLflow went away")
            return work()

        assert training.run(job_id, step) == "failed"
        assert versions_of(job(job_id).mlflow_run_id) == []
        assert [model.id for model in models()] == [before.id]
        assert registry.champion("baseline") == before.mlflow_version

    def test_a_failure_after_training_closes_the_run_as_failed(self, battery, submit, job, registry, models):
        def step(name, work):
            if name == "register":
                raise OSError("the disk is full")
            return work()

        job_id = submit([battery()])
        assert training.run(job_id, step) == "failed"
        row = job(job_id)
        assert "the disk is full" in row.error_message
        assert registry.client.get_run(row.mlflow_run_id).info.status == "FAILED"
        assert models() == []


class TestStopping:
    def test_training_ends_and_registers_nothing(
        self, battery, submit, job, events, models, registry, versions_of, eventually
    ):
        job_id = submit([battery(seed=1), battery(seed=2)], epochs=10_000)

        def stop_after_two_epochs() -> None:
            eventually(lambda: job(job_id).current_epoch >= 2, 60, "the second epoch", every=0.02)
            with transaction() as rows:
                jobs.request_stop(rows, job_id)

        user = threading.Thread(target=stop_after_two_epochs)
        user.start()
        outcome = training.run(job_id)
        user.join()
        assert outcome == "stopped"
        row = job(job_id)
        assert row.status == "stopped"
        assert events(job_id)[-1].type == "error"
        assert registry.client.get_run(row.mlflow_run_id).info.status == "KILLED"
        assert (versions_of(row.mlflow_run_id), models()) == ([], [])
        assert not claiming.folder(job_id).exists()

    @pytest.mark.parametrize("moment", ["register", "complete"])
    def test_at_the_last_moment_takes_everything_back(
        self, moment, battery, submit, job, models, registry, versions_of
    ):
        batteries = [battery(seed=3), battery(seed=4)]
        assert training.run(submit(batteries)) == "succeeded"
        [before] = models()
        registry.set_alias("baseline", "champion", before.mlflow_version)
        job_id = submit(batteries, batch_size=16)

        def step(name, work):
            if name == moment:
                for version in versions_of(job(job_id).mlflow_run_id):  # whichever was better: now it serves
                    registry.set_alias("baseline", "champion", version.version)
                with transaction() as rows:
                    assert jobs.request_stop(rows, job_id)
            return work()

        assert training.run(job_id, step) == "stopped"
        row = job(job_id)
        assert (row.status, row.model_id) == ("stopped", None)
        assert registry.client.get_run(row.mlflow_run_id).info.status == "KILLED"
        assert versions_of(row.mlflow_run_id) == []
        assert [model.id for model in models()] == [before.id]
        assert registry.champion("baseline") == before.mlflow_version

    def test_by_prefects_signal_after_registration_takes_everything_back(
        self, battery, submit, job, models, registry, versions_of
    ):
        class Terminated(BaseException):
            pass

        job_id = submit([battery()])

        def step(name, work):
            if name == "promote":
                with transaction() as rows:
                    jobs.request_stop(rows, job_id)
                raise Terminated
            return work()

        with pytest.raises(Terminated):
            training.run(job_id, step)
        assert (versions_of(job(job_id).mlflow_run_id), models()) == ([], [])
        assert registry.client.get_run(job(job_id).mlflow_run_id).info.status == "KILLED"
        assert not claiming.folder(job_id).exists()

    def test_is_not_cut_short_by_prefects_signal(self, battery, submit, job, registry, monkeypatch):
        class Terminated(BaseException):
            pass

        def terminate(*_: object) -> None:
            raise Terminated

        end_run = Registry.end_run

        def end_run_under_fire(self, run_id, status):
            os.kill(os.getpid(), signal.SIGTERM)
            end_run(self, run_id, status)

        job_id = submit([battery()])

        def step(name, work):
            if name == "register":
                with transaction() as rows:
                    jobs.request_stop(rows, job_id)
            return work()

        monkeypatch.setattr(Registry, "end_run", end_run_under_fire)
        before = signal.signal(signal.SIGTERM, terminate)
        try:
            assert training.run(job_id, step) == "stopped"
            assert signal.getsignal(signal.SIGTERM) is terminate
        finally:
            signal.signal(signal.SIGTERM, before)
        assert registry.client.get_run(job(job_id).mlflow_run_id).info.status == "KILLED"


class TestResuming:
    def test_a_killed_process_is_taken_over_at_its_last_epoch(self, battery, submit, job, events, models, eventually):
        job_id = submit([battery(seed=1, cycles=150), battery(seed=2, cycles=150)], epochs=80)
        command = [sys.executable, "-c", f"from flows import training; training.run({job_id})"]
        first = subprocess.Popen(command, env=os.environ.copy(), start_new_session=True)
        try:
            eventually(lambda: job(job_id).current_epoch >= 5, 90, "five epochs", every=0.02)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
        reached = job(job_id).current_epoch
        assert (job(job_id).status, reached < 80) == ("running", True)

        assert training.run(job_id) == "succeeded"
        told = events(job_id)
        epochs = [event.payload["current_epoch"] for event in told if "train_loss" in event.payload]
        assert epochs == list(range(1, 81))
        best = [event.payload["best_val_loss"] for event in told if "train_loss" in event.payload]
        assert best == list(itertools.accumulate((e.payload["val_loss"] for e in told if "val_loss" in e.payload), min))
        assert any(event.payload.get("message", "").startswith("Going on after epoch") for event in told)
        assert any("Resuming" in event.payload.get("message", "") for event in told)
        assert len(models()) == 1

    def test_a_crash_between_registration_and_row_registers_once(self, battery, submit, job, models, versions_of):
        class Killed(BaseException):
            pass

        def step(name, work):
            done = work()
            if name == "promote":
                raise Killed
            return done

        job_id = submit([battery(seed=5), battery(seed=6)])
        with pytest.raises(Killed):
            training.run(job_id, step)
        assert job(job_id).status == "running"
        assert claiming.folder(job_id).exists()

        assert training.run(job_id) == "succeeded"
        assert len(versions_of(job(job_id).mlflow_run_id)) == 1
        [model] = models()
        assert job(job_id).model_id == model.id
