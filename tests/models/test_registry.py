"""Runs, versions and aliases on a real MLflow server."""

import hashlib
import stat
import subprocess
import sys
from dataclasses import replace

import httpx
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from models.bundle import ModelBundle, UnreadableBundle
from models.hyperparameters import BaselineHyperparameters
from models.observer import Epoch
from models.promotion import DECISION, PREVIOUS_CHAMPION, Cell, promote, successor
from models.registered import ARTIFACTS, Cache, DamagedModel, NoSuchModel, RegisteredModels
from models.registry import Registry
from models.training import fit


@pytest.fixture(scope="session")
def fitted(synthetic, session_recorder):
    cells = [synthetic(seed, cycles=80) for seed in range(3)]
    hyperparameters = BaselineHyperparameters(epochs=3, ensemble_size=2)
    return fit("baseline", hyperparameters, cells, observer=session_recorder, data_version="abc.dir")


@pytest.fixture(scope="session")
def session_recorder():
    class Silent:
        def log(self, level, message): ...

        def epoch(self, epoch): ...

        def should_stop(self):
            return False

    return Silent()


@pytest.fixture
def registry(mlflow_server, tmp_path):
    return Registry(mlflow_server, tmp_path / "cache")


@pytest.fixture
def registered(registry, fitted):
    run_id = registry.start_run("baseline", "a run", {"epochs": 3}, {})
    return registry.register(run_id, fitted, name="mine", version="1.0.0")


class TestRuns:
    def test_epochs_are_logged_as_they_come_and_the_status_is_kept(self, registry):
        run_id = registry.start_run("bilstm", "a run", {"epochs": 2, "learning_rate": 0.001}, {"battery.who": "x"})
        registry.log_epochs(run_id, [Epoch(1, 3, 0.5, 0.6, 0.1), Epoch(2, 3, 0.25, 0.3, 0.1)])
        registry.log_epochs(run_id, [Epoch(3, 3, 0.125, 0.2, 0.1)])
        registry.end_run(run_id, "KILLED")
        run = registry.client.get_run(run_id)
        losses = registry.client.get_metric_history(run_id, "val_loss")
        assert [(m.step, m.value) for m in losses] == [(1, 0.6), (2, 0.3), (3, 0.2)]
        assert run.data.params == {"epochs": "2", "learning_rate": "0.001"}
        assert run.data.tags["battery.algorithm"] == "bilstm"
        assert run.info.status == "KILLED"

    def test_a_job_started_again_goes_on_in_its_run(self, registry):
        first = registry.start_run("bilstm", "a run", {"epochs": 2}, {"battery.job": 4711})
        registry.end_run(first, "FAILED")
        assert registry.start_run("bilstm", "a run", {"epochs": 2}, {"battery.job": 4711}) == first
        assert registry.start_run("bilstm", "a run", {"epochs": 2}, {"battery.job": 4712}) != first
        assert registry.start_run("bilstm", "a run", {"epochs": 2}, {}, run_id=first) == first
        assert registry.client.get_run(first).info.status == "RUNNING"

    def test_a_run_that_a_dying_server_made_twice_is_one(self, registry, monkeypatch):
        create = registry.client.create_run

        def create_twice(*given, **named):
            create(*given, **named)
            return create(*given, **named)

        monkeypatch.setattr(registry.client, "create_run", create_twice)
        run_id = registry.start_run("bilstm", "a run", {}, {"battery.job": 4713})
        found = registry.client.search_runs([registry.experiment_id], "tags.`battery.job` = '4713'")
        assert [run.info.run_id for run in found] == [run_id]


class TestRegister:
    def test_the_weights_downloaded_are_those_that_were_hashed(self, mlflow_server, registered):
        url = f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{registered.artifact_path}"
        content = httpx.get(url).raise_for_status().content
        assert len(content) == registered.file_size
        assert hashlib.sha256(content).hexdigest() == registered.sha256

    def test_twice_for_one_run_gives_one_version(self, registry, registered, fitted):
        again = registry.register(registered.run_id, fitted, name="mine", version="1.0.0")
        assert again == registered

    def test_run_holds_scores_pictures_data_set_and_lineage(self, registry, registered, fitted):
        run = registry.client.get_run(registered.run_id)
        assert run.data.metrics["final_soh_mae"] == pytest.approx(fitted.metrics["soh_mae"])
        pictures = {file.path for file in registry.client.list_artifacts(registered.run_id, "figures")}
        assert pictures == {f"figures/{name}.png" for name in ("loss", "soh", "rul", "reliability")}
        assert run.inputs.dataset_inputs[0].dataset.digest == "abc.dir"
        tags = registry.client.get_model_version("baseline", registered.version).tags
        assert (tags["battery.version"], tags["battery.name"]) == ("1.0.0", "mine")

    def test_data_scientists_load_the_champion_by_name(self, registry, registered, fitted, synthetic, monkeypatch):
        registry.set_alias("baseline", "champion", registered.version)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
        mlflow.set_tracking_uri(registry.tracking_uri)
        cell = synthetic(1, cycles=80)
        table = {name: cell.features[:30, i] for i, name in enumerate(fitted.bundle.feature_names)}
        table["cycle_index"] = cell.cycle_index[:30]
        answers = mlflow.pyfunc.load_model("models:/baseline@champion").predict(table)
        direct = fitted.bundle.predict([cell.features[:30]], [cell.cycle_index[:30]])[0]
        assert len(answers) == 30
        assert answers["soh"].iloc[-1] == pytest.approx(direct.soh, abs=1e-6)


class TestLoad:
    def test_reads_back_the_same_numbers_and_keeps_them_private(self, registry, registered, fitted, synthetic):
        cell = synthetic(1, cycles=80)
        bundle = registry.load("baseline", registered.version)
        assert bundle.predict([cell.features]) == fitted.bundle.predict([cell.features])
        assert stat.S_IMODE(registry.cache.folder.stat().st_mode) == 0o700

    def test_serving_reads_without_mlflow(self, mlflow_server, registered, tmp_path):
        code = (
            "import sys; from pathlib import Path; from models.registered import RegisteredModels\n"
            f"models = RegisteredModels({mlflow_server!r}, Path({str(tmp_path)!r}))\n"
            f"bundle = models.load('baseline', {registered.version!r})\n"
            "assert not {'mlflow', 'lightning'} & set(sys.modules), 'heavy imports'; print(bundle.algorithm)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout.strip(), done.stderr) == ("baseline", "")

    def test_a_version_that_is_not_there(self, mlflow_server, tmp_path):
        with pytest.raises(NoSuchModel, match="baseline has no version 99999"):
            RegisteredModels(mlflow_server, tmp_path).load("baseline", "99999")

    def test_no_model_no_champion(self, mlflow_server, registry, tmp_path):
        assert registry.champion("unregistered") is None
        assert RegisteredModels(mlflow_server, tmp_path).champion("unregistered") is None

    def test_damaged_weights_are_refused(self, mlflow_server, registry, registered, tmp_path):
        registry.client.set_model_version_tag("baseline", registered.version, "battery.sha256", "0" * 64)
        with pytest.raises(DamagedModel):
            RegisteredModels(mlflow_server, tmp_path / "other").load("baseline", registered.version)

    def test_weights_that_may_only_be_out_of_reach_are_not_called_gone(self, registry, registered, monkeypatch):
        def refuse(**_):
            raise MlflowException("the server is busy")

        monkeypatch.setattr("mlflow.artifacts.download_artifacts", refuse)
        with pytest.raises(MlflowException, match="the server is busy"):
            registry.load("baseline", registered.version)

    def test_what_somebody_else_registered_is_refused(self, registry):
        name = registry.client.create_registered_model("somebody else's").name
        version = registry.client.create_model_version(name, "s3://nowhere/model").version
        with pytest.raises(UnreadableBundle, match="was not registered by this product"):
            registry.load(name, version)


class TestCache:
    def test_a_torn_file_is_fetched_again(self, tmp_path):
        content = b"weights" * 100
        sha256 = hashlib.sha256(content).hexdigest()
        (tmp_path / f"{sha256}.pth").write_bytes(content[:10])
        assert Cache(tmp_path).path(sha256, lambda: content).read_bytes() == content


class TestRemove:
    def test_takes_version_weights_and_alias_away(self, mlflow_server, registry, registered, tmp_path):
        registry.set_alias("baseline", "champion", registered.version)
        registry.remove("baseline", registered.version)
        url = f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{registered.artifact_path}"
        assert httpx.get(url).status_code == 404
        assert registry.champion("baseline") is None
        assert RegisteredModels(mlflow_server, tmp_path).champion("baseline") is None

    @pytest.mark.parametrize("broken", ["get_logged_model", "delete_logged_model", "delete_model_version"])
    def test_goes_on_where_it_was_cut_off(self, broken, mlflow_server, registry, registered, monkeypatch):
        def away(*_):
            raise ConnectionError("MLflow went away")

        with monkeypatch.context() as patched:
            patched.setattr(registry.client, broken, away)
            with pytest.raises(ConnectionError):
                registry.remove("baseline", registered.version)
        registry.remove("baseline", registered.version)
        url = f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{registered.artifact_path}"
        assert httpx.get(url).status_code == 404
        with pytest.raises(NoSuchModel):
            RegisteredModels(mlflow_server, registry.cache.folder).load("baseline", registered.version)

    def test_twice_is_fine(self, registry, registered):
        registry.remove("baseline", registered.version)
        registry.remove("baseline", registered.version)


@pytest.fixture
def baselines(registry, fitted):
    """Registers `fitted`, made so much worse, as another version of a registered model that begins empty."""
    for old in registry.client.search_model_versions("name = 'baseline'"):
        registry.remove("baseline", old.version)

    def register(worse_by: float = 0.0, content: bytes | None = None) -> tuple[str, ModelBundle]:
        good = fitted.bundle
        scale = replace(good.scale, soh_mean=good.scale.soh_mean - worse_by)
        bundle = ModelBundle(good.ensemble, scale, good.calibration, good.metadata)
        if content is not None:
            bundle.to_bytes = lambda: content
        run_id = registry.start_run("baseline", "a run", {}, {})
        made = registry.register(run_id, replace(fitted, bundle=bundle), name="mine", version="1.0.0")
        return made.version, bundle

    return register


@pytest.fixture(scope="session")
def unknown(synthetic):
    """A cell that judges and that taught no model."""
    return [Cell(frozenset(["unknown"]), lambda: synthetic(11, 80))]


class TestPromote:
    def test_first_model_becomes_champion_and_a_copy_of_it_does_not_replace_it(
        self, registry, baselines, unknown, mlflow_server, tmp_path
    ):
        (first, bundle), (second, copy) = baselines(), baselines()
        assert promote(registry, "baseline", first, bundle, unknown).promoted
        decision = promote(registry, "baseline", second, copy, unknown)
        assert not decision.promoted
        assert decision.challenger_mae == decision.champion_mae
        assert promote(registry, "baseline", first, bundle, unknown).promoted  # again, after a crash
        assert registry.champion("baseline") == first
        assert RegisteredModels(mlflow_server, tmp_path).champion("baseline") == first
        assert registry.client.get_model_version_by_alias("baseline", "challenger").version == second

    def test_a_version_says_why_and_in_whose_place_it_serves(self, registry, baselines, unknown):
        (first, poor), (second, good), (third, fair) = (baselines(by) for by in (0.2, 0.0, 0.1))
        reasons = [promote(registry, "baseline", *one, unknown).reason for one in ((first, poor), (second, good))]
        reasons.append(promote(registry, "baseline", third, fair, unknown).reason)
        tags = [registry.client.get_model_version("baseline", version).tags for version in (first, second, third)]
        assert [said[DECISION] for said in tags] == reasons
        assert [said.get(PREVIOUS_CHAMPION) for said in tags] == ["", first, None]

    def test_a_champion_that_cannot_be_read_cannot_stay(self, registry, baselines, unknown):
        (old, _), (new, bundle) = baselines(content=b"of another format"), baselines(worse_by=0.2)
        registry.set_alias("baseline", "champion", old)
        assert promote(registry, "baseline", new, bundle, unknown).promoted
        assert registry.champion("baseline") == new

    def test_nor_one_whose_weights_are_gone(self, registry, baselines, unknown):
        (old, _), (new, bundle) = baselines(), baselines(worse_by=0.2)
        registry.set_alias("baseline", "champion", old)
        tags = registry.client.get_model_version("baseline", old).tags
        httpx.delete(f"{registry.tracking_uri}{ARTIFACTS}/{tags['battery.artifact_path']}").raise_for_status()
        with pytest.raises(DamagedModel, match=f"the weights of baseline {old} are gone"):
            registry.load("baseline", old)
        assert promote(registry, "baseline", new, bundle, unknown).promoted


class TestSuccessor:
    def test_is_the_best_by_the_rule_and_among_equals_the_first(self, registry, baselines, unknown):
        poor, good, copy, fair = (baselines(by)[0] for by in (0.2, 0.0, 0.0, 0.1))
        assert successor(registry, "baseline", [poor, good, copy, fair], unknown) == good
        assert successor(registry, "baseline", [copy, fair, good], unknown) == copy

    def test_is_one_that_can_be_read(self, registry, baselines, unknown):
        broken, poor = baselines(content=b"of another format")[0], baselines(worse_by=0.2)[0]
        assert successor(registry, "baseline", [broken, poor], unknown) == poor
        assert successor(registry, "baseline", [broken], unknown) == broken
