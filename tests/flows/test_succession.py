"""Who serves once a champion is gone."""

from uuid import uuid4

import numpy as np
import pytest

from batteries.features import FEATURE_VERSION
from batteries.windows import make_windows
from flows import removal, succession, training
from models import promotion
from models.promotion import PREVIOUS_CHAMPION
from models.registry import Registry
from store import files, histories
from store import models as model_rows
from store.session import reading, transaction
from store.tables import Model


@pytest.fixture
def registry(home) -> Registry:
    return Registry(home.mlflow, home.var / "reading")


@pytest.fixture
def algorithm(registry) -> str:
    """A registered model of its own, without a version yet."""
    return registry.client.create_registered_model(uuid4().hex).name


@pytest.fixture
def version(registry, algorithm):
    """Register a version without weights, the last one as champion, with a row as a job would; its number."""

    def add(batteries=1, soh_mae=None, features=FEATURE_VERSION, instead_of="") -> str:
        tags = {"battery.feature_version": features, PREVIOUS_CHAMPION: instead_of}
        number = registry.client.create_model_version(algorithm, "s3://nowhere/model", tags=tags).version
        registry.set_alias(algorithm, "champion", number)
        known = dict.fromkeys(("mlflow_run_id", "artifact_path", "name", "sha256"), number)
        metrics = {} if soh_mae is None else {"soh_mae": soh_mae}
        with transaction() as rows:
            rows.add(
                Model(
                    algorithm=algorithm,
                    mlflow_version=number,
                    version=f"{number}.0.0",
                    hyperparams={},
                    metrics=metrics,
                    file_size=1,
                    battery_ids=list(range(batteries)),
                    **known,
                )
            )
        return number

    return add


@pytest.fixture
def asked(home, monkeypatch):
    """What the rule was asked, in order; it says the last one. Nobody else may decide meanwhile."""
    told = []

    def successor(registry, algorithm, versions, cells):
        assert not files.is_abandoned(home.var / succession.LOCK_NAME)
        told.extend(versions)
        return versions[-1]

    monkeypatch.setattr(promotion, "successor", successor)
    return told


class TestHandOver:
    def test_asks_the_former_champion_first_then_who_learned_from_most_then_who_erred_least(
        self, registry, algorithm, version, asked
    ):
        narrow, former = version(batteries=2, soh_mae=0.001), version(batteries=1)
        careless, careful, unknown = (version(batteries=5, soh_mae=error) for error in (0.03, 0.0, None))
        last = version(instead_of=former)
        succession.hand_over(registry, algorithm, last)
        assert asked == [former, careful, careless, unknown, narrow]
        assert registry.champion(algorithm) == narrow

    def test_asks_a_few_and_none_that_is_deleted_gone_or_of_other_features(
        self, registry, algorithm, version, asked, monkeypatch
    ):
        monkeypatch.setattr(succession, "MOST_ASKED", 2)
        version(batteries=2)
        some, many, deleted, gone = (version(batteries=number) for number in (3, 4, 5, 6))
        version(batteries=9, features=FEATURE_VERSION - 1)
        with transaction() as rows:
            model_rows.mark_deleted(model_rows.by_registered_version(rows, algorithm, deleted))
        registry.client.delete_model_version(algorithm, gone)
        succession.hand_over(registry, algorithm, version())
        assert asked == [many, some]
        assert registry.champion(algorithm) == some

    def test_one_of_other_features_serves_where_there_is_no_other(self, registry, algorithm, version, asked):
        old, last = version(features=FEATURE_VERSION - 1), version()
        succession.hand_over(registry, algorithm, last)
        assert (asked, registry.champion(algorithm)) == ([], old)

    def test_changes_nothing_for_one_that_does_not_serve_or_is_alone(self, registry, algorithm, version, asked):
        first = version()
        succession.hand_over(registry, algorithm, first)
        assert registry.champion(algorithm) == first
        second = version()
        succession.hand_over(registry, algorithm, first)
        assert (asked, registry.champion(algorithm)) == ([], second)


class TestPutBack:
    def test_lets_the_one_before_serve_again_without_a_contest(self, registry, algorithm, version, asked):
        first, second = version(soh_mae=0.1), version(batteries=5, soh_mae=0.01)
        last = version(instead_of=first)
        succession.put_back(registry, algorithm, last)
        assert (asked, registry.champion(algorithm)) == ([], first)
        succession.put_back(registry, algorithm, second)
        assert registry.champion(algorithm) == first

    @pytest.mark.parametrize("where", ["rows", "MLflow"])
    def test_lets_another_serve_where_that_one_is_deleted(self, where, registry, algorithm, version, asked):
        first, second = version(), version()
        last = version(instead_of=first)
        if where == "MLflow":
            registry.client.delete_model_version(algorithm, first)
        else:
            with transaction() as rows:
                model_rows.mark_deleted(model_rows.by_registered_version(rows, algorithm, first))
        succession.put_back(registry, algorithm, last)
        assert (asked, registry.champion(algorithm)) == ([second], second)


class TestOfRealModels:
    def test_the_one_that_errs_less_on_other_batteries_serves_whatever_it_scored_on_its_own(
        self, home, battery, submit, registry
    ):
        ids = [battery(seed=seed) for seed in range(1, 7)]
        for taught_by in (ids[:1], ids[1:3], ids[:1]):
            assert training.run(submit(taught_by)) == "succeeded"
        with reading() as rows:
            *others, last = [row.mlflow_version for row in rows.query(Model).order_by(Model.id)]
        lives = histories.histories(home.data, ids[3:], home.end_of_life)
        errors = {}
        for other in others:
            bundle = registry.load("baseline", other)
            found = [bundle.judge(make_windows([life], bundle.window)) for life in lives]
            errors[other] = np.mean([np.abs(one.soh - one.true_soh).mean() for one in found])
        best, worst = sorted(errors, key=errors.__getitem__)
        assert errors[best] < 0.9 * errors[worst]
        with transaction() as rows:
            for row in rows.query(Model):
                row.metrics = {**row.metrics, "soh_mae": 0.0 if row.mlflow_version == worst else 0.5}
            gone = model_rows.by_registered_version(rows, "baseline", last)
            model_rows.mark_deleted(gone)
        registry.note("baseline", last, {PREVIOUS_CHAMPION: worst})
        registry.set_alias("baseline", "champion", last)
        assert removal.run(gone.id)
        assert registry.champion("baseline") == best
