"""The BentoML service: windows of features in, answers out, in the same order."""

from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from api.errors import ApiError, InternalError, NotFound, ServiceUnavailable, ValidationFailed


@dataclass(frozen=True)
class Question:
    """One cell's latest cycles, and which model to ask (``model_version`` None: the serving one)."""

    algorithm: str
    model_version: str | None
    x: Any  # (T, F) float32 array, NaN where unknown
    cycle_index: list[int | None]  # (T,)
    nominal_capacity_ah: float | None
    chemistry: str | None


class Serving:
    """A client of one BentoML service."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def predict(self, body: bytes) -> list[dict[str, Any]]:
        """Answers to the questions in ``body``. Raises ServiceUnavailable when the service is away or too slow."""
        try:
            answer = await self._http.post("/predict", content=body, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise ServiceUnavailable("The prediction service cannot be reached; try again in a moment") from error
        if not answer.is_success:
            raise ServiceUnavailable(f"The prediction service answered {answer.status_code}; try again in a moment")
        found: list[dict[str, Any]] = orjson.loads(answer.content)
        return found


def as_json(questions: list[Question]) -> bytes:
    """The body that asks them; NaN as null."""
    return orjson.dumps({"items": questions}, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SERIALIZE_DATACLASS)


def no_model(algorithm: str) -> NotFound:
    """What is said while nothing of this kind was trained."""
    return NotFound(f"There is no {algorithm} model to predict with; train one with POST /api/v1/training-jobs")


def refusal(question: Question, error: dict[str, Any]) -> ApiError:
    """What an answer that is an error means to the caller."""
    code, message = str(error.get("code")), str(error.get("message"))
    if code == "NOT_FOUND":
        return no_model(question.algorithm) if question.model_version is None else NotFound(message)
    if code == "INVALID":
        return ValidationFailed(message)
    if code == "UNAVAILABLE":
        return ServiceUnavailable(message)
    return InternalError(message)
