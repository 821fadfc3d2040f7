"""Every exception that leaves an endpoint, rendered as the one envelope."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import (
    ApiError,
    InternalError,
    MissingRequiredField,
    ValidationFailed,
    nothing_at,
    rendered,
)

MOST = 100  # problems that one answer names
SOURCES = ("body", "query", "path", "header", "cookie")


def install(app: FastAPI) -> None:
    """Teach ``app`` to render what its endpoints raise."""
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_exception)


async def on_api_error(request: Request, error: Exception) -> Response:
    """An exception in the words of the domain."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it alone
    return rendered(error, request.scope)


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """A request that does not fit its schema."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    failed = validation_error(error.errors())
    if (wanted := wanted_type(request.headers.get("content-type", ""), error.body)) is not None:
        failed.details = [{**detail, "issue": f"{detail['issue']}; send {wanted}"} for detail in failed.details]
    return rendered(failed, request.scope)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What the framework says by itself: bodies that it cannot read."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    if isinstance(error.__cause__, ApiError):
        return rendered(error.__cause__, request.scope)  # raised while the body was read
    return rendered(_from_framework(request, error), request.scope)


def _from_framework(request: Request, error: HTTPException) -> ApiError:
    if error.status_code == 404:
        return nothing_at(request.url.path)
    if error.status_code < 500:
        return ValidationFailed(str(error.detail), details=[{"field": "body", "issue": str(error.detail)}])
    return InternalError(str(error.detail))


def wanted_type(sent: str, body: Any) -> str | None:
    """What the body should have been instead, where its Content-Type kept the framework from reading it."""
    if isinstance(body, FormData):
        return None if "form" in sent else "a form (Content-Type: application/x-www-form-urlencoded)"
    return "JSON (Content-Type: application/json)" if isinstance(body, bytes) and "json" not in sent else None


def validation_error(
    problems: Sequence[Mapping[str, Any]], prefix: str = "", known: Iterable[str] = ()
) -> ValidationFailed:
    """Pydantic's problems as one error that names each field (``hyperparams.epochs``); ``known``: those there are."""
    unknown = "; ".join(["Unknown field", *([f"there are {', '.join(known)}"] if known else [])])
    details = [
        {
            "field": field_name(problem["loc"], prefix),
            "issue": unknown if problem["type"] == "extra_forbidden" else issue(problem),
        }
        for problem in problems[:MOST]
    ]
    missing = all(problem["type"] == "missing" for problem in problems)
    names = ", ".join(dict.fromkeys(detail["field"] for detail in details))
    if missing:
        return MissingRequiredField(f"Missing: {names}", details=details)
    return ValidationFailed(f"Not valid: {names}", details=details)


def field_name(location: Sequence[str | int], prefix: str = "") -> str:
    """``("body", "hyperparams", "epochs")`` → ``hyperparams.epochs``; a place in an array names the array."""
    parts = [str(part) for part in location]
    if len(parts) > 2 and isinstance(location[-1], int):
        parts.pop()
    if not prefix and parts and parts[0] in SOURCES:
        source, *parts = parts
        place_in_text = source == "body" and bool(parts) and parts[0].isdigit()  # of what is no JSON
        if not parts or place_in_text:
            return source
    return ".".join([prefix, *parts] if prefix else parts) or "body"


def issue(problem: Mapping[str, Any]) -> str:
    """What is wrong, in one sentence."""
    if problem["type"] == "json_invalid":
        return f"Not JSON: {problem.get('ctx', {}).get('error', problem['msg'])}"
    if problem["type"] == "model_attributes_type":
        return "Must be a JSON object"
    said = str(problem["msg"]).removeprefix("Value error, ").replace(" after validation", "")
    place = problem["loc"][-1] if len(problem["loc"]) > 1 else None
    return f"Item {place}: {said}" if isinstance(place, int) else said
