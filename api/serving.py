"""The BentoML service: windows of features in, answers out, in the same order; and which model serves.

A service that is away is not asked again and again: after a few failures in a row callers are refused at once, and one
call now and then tries whether it is back.
"""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from api.errors import ApiError, InternalError, NotFound, ServiceUnavailable, ValidationFailed
from models.champions import Champions

FAILURES = 3  # in a row, after which the service is left alone
REST_S = 3.0  # for so long; then one call tries


@dataclass(frozen=True)
class Question:
    """One cell's latest cycles, and which model to ask (``model_version`` None: the serving one)."""

    algorithm: str
    model_version: str | None
    x: NDArray[np.float32]  # (T, F), NaN where unknown
    cycle_index: list[int | None]  # (T,)
    nominal_capacity_ah: float | None
    chemistry: str | None
    explain: bool = False


class Breaker:
    """Refuses calls while the last ``FAILURES`` failed and the rest is not over; then lets one try."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what happens to a call. Raises ServiceUnavailable instead of making it."""
        now = self._clock()
        if self._failures >= FAILURES:
            if now < self._closed_until:
                raise away(self._closed_until - now)
            self._closed_until = now + REST_S  # this call tries, the others go on being refused
        try:
            yield
        except ServiceUnavailable:
            self._failures += 1
            self._closed_until = self._clock() + REST_S
            raise
        self._failures = 0


class Serving:
    """A client of one BentoML service. Belongs to one event loop."""

    def __init__(self, http: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._breaker = Breaker(clock)
        self._champions: Champions[str | None] = Champions(self._look_up, clock)

    async def predict(self, body: bytes) -> list[dict[str, Any]]:
        """Answers to the questions in ``body``. Raises ServiceUnavailable when the service is away or too slow."""
        found: list[dict[str, Any]] = await self._post("/predict", body)
        return found

    async def champion(self, algorithm: str) -> str | None:
        """Registered version that serves, as of a moment ago; None where there is none. Raises ServiceUnavailable."""
        return await self._champions.get(algorithm)

    async def uses(self, algorithm: str, version: str) -> bool:
        """Whether the service computes with this version right now; one that is away computes nothing."""
        try:
            answer = await self._post("/uses", orjson.dumps({"algorithm": algorithm, "version": version}))
        except ServiceUnavailable:
            return False
        return bool(answer)

    def forget_champion(self, algorithm: str) -> None:
        """Look it up anew the next time."""
        self._champions.forget(algorithm)

    async def _look_up(self, algorithm: str) -> str | None:
        answer = await self._post("/champion", orjson.dumps({"algorithm": algorithm}))
        if "error" in answer and answer["error"]["code"] != "NOT_FOUND":
            raise ServiceUnavailable(str(answer["error"]["message"]))
        version: str | None = answer.get("version")
        return version

    async def _post(self, path: str, body: bytes) -> Any:
        with self._breaker.watching():
            try:
                answer = await self._http.post(path, content=body, headers={"Content-Type": "application/json"})
            except httpx.HTTPError as error:
                raise away(REST_S) from error
            if not answer.is_success:
                message = f"The prediction service answered {answer.status_code}; try again in a moment"
                raise ServiceUnavailable(message, headers={"Retry-After": str(round(REST_S))})
        return orjson.loads(answer.content)


def away(wait_s: float) -> ServiceUnavailable:
    """What is said while the service cannot be reached."""
    seconds = max(1, round(wait_s))
    message = f"The prediction service cannot be reached; try again in {seconds} s"
    return ServiceUnavailable(message, headers={"Retry-After": str(seconds)})


def as_json(questions: list[Question]) -> bytes:
    """The body that asks them; features as base64 of float32, which both sides read at once."""
    return orjson.dumps({"items": [vars(question) | {"x": packed(question.x)} for question in questions]})


def packed(x: NDArray[np.float32]) -> str:
    """An array row by row, little-endian."""
    return base64.b64encode(x.astype("<f4").tobytes()).decode()


def no_model(algorithm: str) -> NotFound:
    """What is said while nothing of this kind was trained."""
    return NotFound(f"There is no {algorithm} model to predict with; train one with POST /api/v1/training-jobs")


def refusal(error: dict[str, Any]) -> ApiError:
    """What an answer that is an error means to the caller."""
    code, message = str(error.get("code")), str(error.get("message"))
    if code == "NOT_FOUND":
        return NotFound(message)
    if code == "INVALID":
        return ValidationFailed(message)
    if code == "UNAVAILABLE":
        return ServiceUnavailable(message)
    return InternalError(message)
