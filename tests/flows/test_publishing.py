"""A job's model competes with the champion over the batteries that are stored."""

import pytest

from flows import succession, training
from models import promotion
from models.promotion import DECISION
from models.registry import Registry
from store import files, recordings
from store.session import reading
from store.tables import Model


@pytest.fixture
def registry(home) -> Registry:
    return Registry(home.mlflow, home.var / "reading")


@pytest.fixture
def model():
    """Row of the newest model."""

    def read() -> Model:
        with reading() as rows:
            return rows.query(Model).order_by(Model.id.desc()).first()

    return read


class TestPromote:
    def test_judges_on_every_other_battery_that_can_be_read_and_says_so(
        self, home, battery, submit, registry, model, events
    ):
        first, second, broken, *_ = [battery(seed=seed) for seed in range(1, 7)]
        assert training.run(submit([first])) == "succeeded"
        registry.set_alias("baseline", "champion", model().mlflow_version)
        recordings.path_of(home.data, broken).write_bytes(b"no Parquet")
        job_id = submit([second])
        assert training.run(job_id) == "succeeded"
        told = [event.payload for event in events(job_id) if event.type == "log"]
        assert [line["message"] for line in told if line["level"] == "WARNING"] == [
            f"Battery {broken} cannot be read and judges no model (ArrowInvalid)"
        ]
        reason = registry.client.get_model_version("baseline", model().mlflow_version).tags[DECISION]
        assert reason.startswith("over 3 batteries that neither learned from, its SoH is off by 0.0")
        serves = registry.champion("baseline") == model().mlflow_version
        verdict = "it serves from now on" if serves else "the champion stays"
        assert told[-1]["message"] == f"Registered as baseline 1.0.1; {verdict}: {reason}"

    def test_nobody_else_decides_meanwhile(self, home, battery, submit, monkeypatch):
        alone, promote = [], promotion.promote

        def watched(*asked):
            alone.append(not files.is_abandoned(home.var / succession.LOCK_NAME))
            return promote(*asked)

        monkeypatch.setattr(promotion, "promote", watched)
        assert training.run(submit([battery()])) == "succeeded"
        assert alone == [True]
        assert files.is_abandoned(home.var / succession.LOCK_NAME)
