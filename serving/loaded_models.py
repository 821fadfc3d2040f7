"""Models in memory: loaded once, warm before they are asked, kept while used, with the champions' names watched.

Belongs to one event loop. Loading happens in threads of its own, so a model that is being loaded delays no other.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import httpx
import numpy as np

from models.bundle import Answer, ModelBundle, UnreadableBundle
from models.champions import Champions
from models.registered import DamagedModel, NoSuchModel
from serving.batching import Batcher
from serving.questions import Question, Refused, predict

NUMBER_BYTES = 32  # a Python float in a tuple
MODULES_BYTES = 256 * 1024

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """One version of one algorithm, ready to answer."""

    version: str
    bundle: ModelBundle
    batcher: Batcher[Question, Answer]
    size_bytes: int


def size_of(bundle: ModelBundle) -> int:
    """Memory that a model takes, about: its tensors, the numbers of its calibration, and the modules around them."""
    tensors: int = sum(tensor.numel() * tensor.element_size() for tensor in bundle.ensemble.state_dict().values())
    calibration = bundle.calibration.as_dict()
    numbers: int = sum(len(part["soh"]) + len(part["rul"]) for part in (calibration, *calibration["lacking"]))
    return tensors + NUMBER_BYTES * numbers + MODULES_BYTES


def warming(bundle: ModelBundle) -> Question:
    """Something to ask a model whose answer nobody needs."""
    shape = (bundle.window, len(bundle.feature_names))
    return Question(bundle.algorithm, None, np.zeros(shape, np.float32), np.zeros(shape[0]), None)


class LoadedModels:
    """Least recently used models leave when all together are larger than ``limit_bytes``; the last one stays."""

    def __init__(
        self,
        load: Callable[[str, str], ModelBundle],
        champion: Callable[[str], str | None],
        *,
        loading: Executor,
        inference: Executor,
        limit_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._champion = load, champion
        self._loading, self._inference, self._limit_bytes = loading, inference, limit_bytes
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._champions = Champions(self._look_up_champion, clock)
        self._underway: dict[tuple[str, str], asyncio.Task[LoadedModel]] = {}

    async def get(self, algorithm: str, version: str | None) -> LoadedModel:
        """That version, or the champion for None. Raises Refused when there is none or it cannot be had now."""
        if version is None:
            return await self._current_champion(algorithm)
        return await self._version(algorithm, version)

    async def champion(self, algorithm: str) -> str:
        """Version of the champion. Raises Refused when there is none or it is not known."""
        return (await self._current_champion(algorithm)).version

    @property
    def size_bytes(self) -> int:
        """Of all models that are kept."""
        return sum(model.size_bytes for model in self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    async def _version(self, algorithm: str, version: str) -> LoadedModel:
        key = (algorithm, version)
        if key not in self._models:
            return await asyncio.shield(self._once(key))
        self._models.move_to_end(key)
        return self._models[key]

    async def _load_version(self, algorithm: str, version: str) -> LoadedModel:
        bundle = await self._in_thread(self._load, algorithm, version)
        batcher: Batcher[Question, Answer] = Batcher(lambda questions: predict(bundle, questions), self._inference)
        await batcher.ask([warming(bundle)])  # the first forward pass is slow; nobody shall wait for it
        model = self._models[algorithm, version] = LoadedModel(version, bundle, batcher, size_of(bundle))
        while len(self._models) > 1 and self.size_bytes > self._limit_bytes:
            self._models.popitem(last=False)
        return model

    async def _current_champion(self, algorithm: str) -> LoadedModel:
        """The champion as of a moment ago. A new one takes over once it is loaded, so nobody waits for that."""
        try:
            return await self._champions.get(algorithm)
        except Refused as error:
            last = self._champions.last(algorithm)
            if last is None or error.code != "UNAVAILABLE":
                raise
            return last  # the registry is away: the champion it named last goes on answering

    async def _look_up_champion(self, algorithm: str) -> LoadedModel:
        version = await self._in_thread(self._champion, algorithm)
        if version is None:
            self._champions.forget(algorithm)
            raise Refused("NOT_FOUND", f"there is no trained {algorithm} model yet")
        return await self._version(algorithm, version)

    def _once(self, key: tuple[str, str]) -> asyncio.Task[LoadedModel]:
        """The load of a version that is under way, started when there is none: many who ask cause one."""
        task = self._underway.get(key)
        if task is None:
            task = self._underway[key] = asyncio.create_task(self._load_version(*key))
            task.add_done_callback(lambda done: self._finished(key, done))
        return task

    def _finished(self, key: tuple[str, str], task: asyncio.Task[LoadedModel]) -> None:
        del self._underway[key]
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Refused):
            logger.error("Loading %s %s failed", *key, exc_info=error)

    async def _in_thread(self, work: Callable[..., T], *arguments: str) -> T:
        """``work`` in a loading thread; what the registry cannot give becomes a refusal."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._loading, lambda: work(*arguments))
        except NoSuchModel as error:
            raise Refused("NOT_FOUND", str(error)) from error
        except httpx.HTTPError as error:
            raise Refused("UNAVAILABLE", "the model registry cannot be reached") from error
        except (DamagedModel, UnreadableBundle) as error:
            raise Refused("UNAVAILABLE", str(error)) from error
