"""The BentoML service that answers predictions: ``bentoml serve serving.service:PredictionService``.

``POST /predict`` takes ``{"items": […]}`` and answers a list in the same order, see docs/architecture.md. It binds to
loopback: it knows no users, the API in front of it does.
"""

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import torch

from batteries.features import FEATURE_VERSION
from models.registered import RegisteredModels
from serving.loaded_models import LoadedModels
from serving.questions import Question, Refused, as_json, check_fits, read_question, refusal
from store.settings import get_settings

CAPACITY = 32  # models in memory; the largest networks take a few MB each
LOADERS = 2
TIMEOUT_S = 30


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
        self.models = LoadedModels(
            registry.load,
            registry.champion,
            loading=ThreadPoolExecutor(LOADERS, "loading"),
            inference=ThreadPoolExecutor(os.cpu_count() or 1, "inference"),
            capacity=CAPACITY,
        )

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, items: list[Any]) -> list[dict[str, Any]]:
        """Answer each item, in order: a prediction, or ``{"error": {"code", "message"}}`` where there can be none."""
        answers: list[dict[str, Any]] = [{}] * len(items)
        groups: dict[tuple[str, str | None], list[tuple[int, Question]]] = {}
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
        return answers

    async def _answer(
        self, algorithm: str, version: str | None, asked: Iterable[tuple[int, Question]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Answers of one model to the questions, each with its place in the request."""
        try:
            model = await self.models.get(algorithm, version)
        except Refused as error:
            return [(place, refusal(error)) for place, _ in asked]
        answers: list[tuple[int, dict[str, Any]]] = []
        fitting: list[tuple[int, Question]] = []
        for place, question in asked:
            try:
                check_fits(question, model.bundle, FEATURE_VERSION)
            except Refused as error:
                answers.append((place, refusal(error)))
            else:
                fitting.append((place, question))
        if fitting:
            found = await model.batcher.ask([question for _, question in fitting])
            answers += [
                (place, as_json(answer, model.version)) for (place, _), answer in zip(fitting, found, strict=True)
            ]
        return answers
