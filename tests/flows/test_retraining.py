import pytest

from flows import retraining, training
from store import data_versions, versions
from store.session import reading
from store.settings import get_settings
from store.tables import Model


@pytest.fixture
def champion(battery, submit) -> Model:
    """A baseline that serves, of one battery and the newest data."""
    assert training.run(submit([battery(seed=1)], batch_size=16)) == "succeeded"
    with reading() as rows:
        [row] = rows.query(Model)
    from models.registry import Registry

    settings = get_settings()
    Registry(settings.mlflow, settings.var / "reading").set_alias("baseline", "champion", row.mlflow_version)
    return row


@pytest.fixture
def mlflow_away(monkeypatch):
    """From here on nothing answers where MLflow should be."""

    def leave() -> None:
        monkeypatch.setenv("BATTERY_MLFLOW_URL", "http://127.0.0.1:9")
        get_settings.cache_clear()

    return leave


class TestRun:
    def test_does_nothing_without_batteries(self, home, mlflow_away):
        mlflow_away()
        assert retraining.run() == []

    def test_does_nothing_without_a_model(self, battery, mlflow_away):
        battery()
        mlflow_away()
        assert retraining.run() == []

    def test_does_nothing_and_asks_nobody_while_the_data_are_the_same(self, champion, mlflow_away):
        mlflow_away()
        assert retraining.run() == []

    @pytest.mark.parametrize("versioned", [False, True])
    def test_new_data_call_for_a_challenger_on_all_of_them(self, versioned, champion, battery, job):
        new = battery(seed=2)
        if versioned:
            versions.version_everything()
            with reading() as rows:
                assert not data_versions.is_behind(rows)
        [job_id] = retraining.run()
        row = job(job_id)
        assert (row.algorithm, row.status, row.flow_run_id) == ("baseline", "queued", None)
        assert row.battery_ids == [new - 1, new]
        assert row.hyperparams == champion.hyperparams
        assert row.model_name == champion.name

    def test_a_challenger_that_trains_already_is_enough(self, champion, battery):
        battery(seed=2)
        assert len(retraining.run()) == 1
        assert retraining.run() == []

    def test_a_challenger_that_lost_is_not_trained_again_on_the_same_data(self, champion, battery, mlflow_away):
        battery(seed=2)
        [job_id] = retraining.run()
        assert training.run(job_id) == "succeeded"
        mlflow_away()
        assert retraining.run() == []
