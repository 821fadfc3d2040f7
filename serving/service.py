"""The BentoML service that answers predictions: ``bentoml serve serving.service:PredictionService``.

``POST /predict`` takes ``{"items": […]}`` and answers a list in the same order, ``/champion`` says who serves and
``/uses`` whether a version computes right now, see docs/architecture.md. It binds to loopback: it knows no users, the
API in front of it does.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import torch

from batteries.features import FEATURE_VERSION
from models.hyperparameters import HYPERPARAMETERS
from models.registered import RegisteredModels
from serving.explanations import explain
from serving.loaded_models import LoadedModel, LoadedModels
from serving.metrics import Metrics
from serving.questions import Question, Refused, as_json, check_fits, read_question, refusal
from store.settings import get_settings

LOADERS = 2
TIMEOUT_S = 30
WARM_WITHIN_S = 10.0  # what a registry that is away may delay the start by

Placed = tuple[int, Question]


@bentoml.service(
    workers=1,
    traffic={"timeout": TIMEOUT_S},
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    metrics={"enabled": True},
)
class PredictionService:
    """Answers with registered models, each loaded once."""

    def __init__(self) -> None:
        torch.set_num_threads(1)  # more threads a forward pass this small cost time: they wait for each other
        settings = get_settings()
        registry = RegisteredModels(settings.mlflow, settings.var / "serving")
        self.inference = ThreadPoolExecutor(os.cpu_count() or 1, "inference")
        self.models = LoadedModels(
            registry.load,
            registry.champion,
            loading=ThreadPoolExecutor(LOADERS, "loading"),
            inference=self.inference,
            limit_bytes=settings.serving_memory_bytes,
        )
        self.metrics = Metrics()
        self.using: Counter[tuple[str, str]] = Counter()
        self._warming: asyncio.Task[None] | None = None

    async def __is_ready__(self) -> bool:
        """Whether the champions are in memory, or the registry was away for so long that they have to wait."""
        if self._warming is None:
            self._warming = asyncio.create_task(self._warm())
        return self._warming.done()

    async def _warm(self) -> None:
        """Load every champion there is."""
        until = time.monotonic() + WARM_WITHIN_S
        for algorithm in HYPERPARAMETERS:
            while True:
                try:
                    await self.models.get(algorithm, None)
                except Refused as error:
                    if error.code == "UNAVAILABLE" and time.monotonic() < until:
                        await asyncio.sleep(0.2)
                        continue
                break

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, items: list[Any]) -> list[dict[str, Any]]:
        """Answer each item, in order: a prediction, or ``{"error": {"code", "message"}}`` where there can be none."""
        answers: list[dict[str, Any]] = [{}] * len(items)
        groups: dict[tuple[str, str | None], list[Placed]] = {}
        for place, item in enumerate(items):
            try:
                question = read_question(item)
            except Refused as error:
                answers[place] = refusal(error)
            else:
                groups.setdefault((question.algorithm, question.version), []).append((place, question))
        for group in await asyncio.gather(*(self._answer(*key, asked) for key, asked in groups.items())):
            for place, answer in group:
                answers[place] = answer
        self.metrics.answered(answers, self.models)
        return answers

    @bentoml.api(route="/champion")  # type: ignore[untyped-decorator]
    async def champion(self, algorithm: str) -> dict[str, Any]:
        """``{"version"}`` that answers when none is named, loaded and warm; null, or an error, where there is none."""
        if algorithm not in HYPERPARAMETERS:
            return refusal(Refused("INVALID", f"algorithm: one of {', '.join(HYPERPARAMETERS)}, not {algorithm!r}"))
        try:
            return {"version": await self.models.champion(algorithm)}
        except Refused as error:
            return {"version": None} if error.code == "NOT_FOUND" else refusal(error)

    @bentoml.api(route="/uses")  # type: ignore[untyped-decorator]
    async def uses(self, algorithm: str, version: str) -> bool:
        """Whether an answer of this version is being computed."""
        return self.using[algorithm, version] > 0

    async def _answer(
        self, algorithm: str, version: str | None, asked: Iterable[Placed]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Answers of one model to the questions, each with its place in the request."""
        try:
            model = await self.models.get(algorithm, version)
        except Refused as error:
            return [(place, refusal(error)) for place, _ in asked]
        answers: list[tuple[int, dict[str, Any]]] = []
        fitting: list[Placed] = []
        for place, question in asked:
            try:
                check_fits(question, model.bundle, FEATURE_VERSION)
            except Refused as error:
                answers.append((place, refusal(error)))
            else:
                fitting.append((place, question))
        self.using[algorithm, model.version] += 1
        try:
            return answers + await self._computed(model, fitting)
        finally:
            self.using[algorithm, model.version] -= 1

    async def _computed(self, model: LoadedModel, fitting: list[Placed]) -> list[tuple[int, dict[str, Any]]]:
        if not fitting:
            return []
        found = await model.batcher.ask([question for _, question in fitting])
        answers: list[tuple[int, dict[str, Any]]] = []
        for (place, question), answer in zip(fitting, found, strict=True):
            told = as_json(answer, model.version, model.bundle)
            if question.explain:
                loop = asyncio.get_running_loop()
                told["explanation"] = await loop.run_in_executor(self.inference, explain, model.bundle, question)
            answers.append((place, told))
        return answers
