"""Predictions: prepared, answered from the cache or by one call to the service, and written to the audit trail.

What is asked while others are being answered is answered together: one look-up, one call, one transaction.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from anyio.to_thread import run_sync
from cachetools import TTLCache

from api.coalescing import Coalescer, Overloaded
from api.errors import ApiError, NotFound, ServiceUnavailable
from api.models.service import InFlight
from api.predictions.audit import Answered, record_all
from api.predictions.inputs import Asked, Preparation, parsed
from api.predictions.schemas import PredictionAnswer, PredictionRequest
from api.serving import Question, Serving, as_json, no_model, refusal
from store.session import selecting
from store.settings import Settings

FEW_NUMBERS = 500_000  # are written in less time than another thread needs to wake up
MOST_KEPT = 2048  # answers, some 1 kB each

Outcome = PredictionAnswer | ApiError
Answer = dict[str, Any] | ApiError
Key = tuple[str, str, str, bool]  # algorithm, version, hash of the input, whether it is explained


@dataclass(frozen=True)
class Order:
    """One request of one caller, and when it came (``time.perf_counter``)."""

    request: PredictionRequest | Any
    user_id: int
    came: float


class Predictor:
    """Answers requests for predictions. Belongs to one event loop."""

    def __init__(self, settings: Settings, serving: Serving, in_flight: InFlight) -> None:
        self._data, self._within_s = settings.data, settings.serving_timeout_s
        self._serving, self._in_flight = serving, in_flight
        self._cache: TTLCache[Key, bytes] | None = None
        if settings.prediction_cache_s:
            self._cache = TTLCache(MOST_KEPT, settings.prediction_cache_s)
        self._coalescer: Coalescer[Order, Outcome] = Coalescer(self._answer_all)

    async def predict(self, requests: Sequence[PredictionRequest | Any], user_id: int) -> list[Outcome]:
        """Answer every request in its place; where one fails stands the error that it failed with.

        Raises ServiceUnavailable when no answer was to be had in time.
        """
        came = time.perf_counter()
        try:
            return await self._coalescer.ask([Order(one, user_id, came) for one in requests], self._within_s)
        except Overloaded:
            raise ServiceUnavailable("Too many predictions wait already", headers={"Retry-After": "1"}) from None
        except TimeoutError:
            message = f"No prediction within {self._within_s:g} s; try again in a moment"
            raise ServiceUnavailable(message, headers={"Retry-After": "1"}) from None

    async def _answer_all(self, orders: list[Order]) -> list[Outcome]:
        prepared = await run_sync(prepare_all, [order.request for order in orders], self._data)
        known = [(order, asked) for order, asked in zip(orders, prepared, strict=True) if isinstance(asked, Asked)]
        with ExitStack() as stack:
            for _, asked in known:
                stack.enter_context(self._in_flight.using(asked.model_id or asked.question.algorithm))
            answered = await self._ask([asked for _, asked in known])
            outcomes: Iterator[Outcome] = iter(())
            if known:
                callers = [(order.user_id, order.came) for order, _ in known]
                outcomes = iter(await run_sync(record_all, answered, callers))
        return [next(outcomes) if isinstance(asked, Asked) else asked for asked in prepared]

    async def _ask(self, asked: list[Asked]) -> list[Answered]:
        """Answers in order: kept ones where there are any, the others by one call; equal questions are asked once."""
        unnamed = {one.question.algorithm for one in asked if one.question.model_version is None}
        serving = {algorithm: await self._champion(algorithm) for algorithm in unnamed}
        hashes = [one.input_hash for one in asked]
        keys = [key_of(one.question, known, serving) for one, known in zip(asked, hashes, strict=True)]
        questions = {
            key: replace(one.question, model_version=key[1])
            for one, key in zip(asked, keys, strict=True)
            if not isinstance(key, ApiError)
        }
        kept = self._kept(questions)
        answers = kept | await self._fresh({key: asks for key, asks in questions.items() if key not in kept})
        return [
            Answered(one, known, key if isinstance(key, ApiError) else answers[key], key in kept)
            for one, known, key in zip(asked, hashes, keys, strict=True)
        ]

    def _kept(self, keys: Iterable[Key]) -> dict[Key, Answer]:
        """What was answered before and is still kept."""
        if self._cache is None:
            return {}
        found = {key: self._cache.get(key) for key in keys}
        return {key: orjson.loads(content) for key, content in found.items() if content is not None}

    async def _champion(self, algorithm: str) -> str | ApiError:
        try:
            version = await self._serving.champion(algorithm)
        except ServiceUnavailable as error:
            return error.with_traceback(None)
        return no_model(algorithm) if version is None else version

    async def _fresh(self, missing: dict[Key, Question]) -> dict[Key, Answer]:
        """The service's answers to questions that were not kept; those are kept from now on."""
        if not missing:
            return {}
        try:
            questions = list(missing.values())
            numbers = sum(question.x.size for question in questions)
            body = as_json(questions) if numbers < FEW_NUMBERS else await run_sync(as_json, questions)
            answers = await self._serving.predict(body)
        except ServiceUnavailable as error:
            return dict.fromkeys(missing, error.with_traceback(None))
        if len(answers) != len(missing):
            message = f"The prediction service gave {len(answers)} answers to {len(missing)} questions"
            return dict.fromkeys(missing, ServiceUnavailable(message))
        found: dict[Key, Answer] = {}
        for key, answer in zip(missing, answers, strict=True):
            if "error" in answer:
                found[key] = refusal(answer["error"])
                if isinstance(found[key], NotFound):
                    self._serving.forget_champion(key[0])  # it may be the one that is gone
                continue
            found[key] = answer
            if self._cache is not None:
                self._cache[key] = orjson.dumps(answer)
        return found


def key_of(question: Question, input_hash: str, serving: Mapping[str, str | ApiError]) -> Key | ApiError:
    """What an answer depends on, the registered version among it; the error where it is not known who serves."""
    version = question.model_version or serving[question.algorithm]
    if isinstance(version, ApiError):
        return version
    return question.algorithm, version, input_hash, question.explain


def prepare_all(requests: Sequence[PredictionRequest | Any], data: Path) -> list[Asked | ApiError]:
    """What can be asked, in order; the error where it cannot."""
    prepared: list[Asked | ApiError] = []
    with selecting() as connection:
        preparation = Preparation(connection, data)
        for request in requests:
            try:
                checked = request if isinstance(request, PredictionRequest) else parsed(request)
                prepared.append(preparation.prepare(checked))
            except ApiError as error:
                error.__cause__ = error.__context__ = (
                    None  # they would hold the whole request until the collector comes
                )
                prepared.append(error.with_traceback(None))
    return prepared
