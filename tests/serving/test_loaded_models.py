"""Models in memory: loaded once, within a limit, watched for new champions."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from models.champions import STALE_S
from models.registered import NoSuchModel
from serving.loaded_models import LoadedModels, size_of, warming
from serving.questions import Refused


class FakeRegistry:
    """Versions of one algorithm, all of the same weights; counts what is read. Can be away."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.alias: str | None = "1"
        self.loads: list[str] = []
        self.looks = 0
        self.away = False

    def load(self, algorithm, version):
        if version == "999":
            raise NoSuchModel(f"{algorithm} has no version {version}")
        self.loads.append(version)
        return self.bundle

    def champion(self, algorithm):
        self.looks += 1
        if self.away:
            raise httpx.ConnectError("away")
        return self.alias


@pytest.fixture(scope="module")
def bundle(train):
    return train("baseline").bundle


@pytest.fixture
def registry(bundle):
    return FakeRegistry(bundle)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def run(registry):
    """Run ``work(models, clock)`` on models with room for so many."""

    def do(work, room=100):
        async def main():
            with ThreadPoolExecutor(2) as pool:
                clock, limit = Clock(), room * size_of(registry.bundle)
                models = LoadedModels(
                    registry.load, registry.champion, loading=pool, inference=pool, limit_bytes=limit, clock=clock
                )
                await work(models, clock)

        asyncio.run(main())

    return do


class TestVersions:
    def test_are_loaded_once_for_all_who_ask(self, run, registry):
        async def work(models, clock):
            got = await asyncio.gather(*(models.get("baseline", "1") for _ in range(5)))
            assert len({id(model) for model in got}) == 1
            await models.get("baseline", "1")
            assert registry.loads == ["1"]

        run(work)

    def test_leave_when_the_limit_is_passed_the_least_recently_used_first(self, run, registry):
        async def work(models, clock):
            for version in ("1", "2", "1", "3"):
                await models.get("baseline", version)
            assert len(models) == 2
            assert models.size_bytes <= 2 * size_of(registry.bundle)
            await models.get("baseline", "1")
            assert registry.loads == ["1", "2", "3"]
            await models.get("baseline", "2")
            assert registry.loads == ["1", "2", "3", "2"]

        run(work, room=2)

    def test_larger_than_the_limit_stay_alone(self, run, registry):
        async def work(models, clock):
            for version in ("1", "2", "2"):
                await models.get("baseline", version)
            assert len(models) == 1
            assert registry.loads == ["1", "2"]

        run(work, room=0)

    def test_that_are_not_there_are_refused_and_asked_for_again(self, run):
        async def work(models, clock):
            for _ in range(2):
                with pytest.raises(Refused) as caught:
                    await models.get("baseline", "999")
                assert caught.value.code == "NOT_FOUND"

        run(work)

    def test_have_answered_once_before_they_are_given_out(self, run, registry, monkeypatch):
        asked = []
        predict = registry.bundle.predict
        monkeypatch.setattr(registry.bundle, "predict", lambda *given: asked.append(given) or predict(*given))

        async def work(models, clock):
            await models.get("baseline", "1")
            assert len(asked) == 1

        run(work)


class TestChampion:
    def test_that_is_new_takes_over_in_time_and_the_old_one_answers_until_then(self, run, registry):
        async def work(models, clock):
            assert await models.champion("baseline") == "1"
            registry.alias = "2"
            assert await models.champion("baseline") == "1"
            clock.now += STALE_S
            assert await models.champion("baseline") == "2"

        run(work)

    def test_goes_on_while_the_registry_is_away(self, run, registry):
        async def work(models, clock):
            await models.champion("baseline")
            registry.away = True
            clock.now += 10 * STALE_S
            assert await models.champion("baseline") == "1"

        run(work)

    def test_stays_though_the_limit_made_it_leave_the_others(self, run, registry):
        async def work(models, clock):
            await models.champion("baseline")
            await models.get("baseline", "2")
            assert await models.champion("baseline") == "1"
            assert registry.loads == ["1", "2"]

        run(work, room=0)

    def test_that_there_is_none_of_is_refused(self, run, registry):
        registry.alias = None

        async def work(models, clock):
            with pytest.raises(Refused) as caught:
                await models.champion("baseline")
            assert caught.value.code == "NOT_FOUND"

        run(work)


class TestSize:
    def test_is_that_of_the_tensors_and_more(self, bundle):
        tensors = sum(t.numel() * t.element_size() for t in bundle.ensemble.state_dict().values())
        assert tensors < size_of(bundle) < tensors + 2 * 1024**2

    def test_a_model_can_be_asked_to_warm_itself(self, bundle):
        question = warming(bundle)
        assert bundle.predict([question.x], [question.cycle_index], [None])
