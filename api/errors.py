"""What can go wrong, in the words of the domain, and the one envelope that all of it is rendered in.

ApiError
├── ValidationFailed            422 VALIDATION_ERROR (400 where the request makes no sense, 408 where it stalls)
│   └── MissingRequiredField    422 MISSING_REQUIRED_FIELD
├── InvalidFileFormat           400 INVALID_FILE_FORMAT
├── TooLarge                    413 FILE_TOO_LARGE
├── Unauthenticated             401 INVALID_CREDENTIALS, MISSING_TOKEN, INVALID_TOKEN, TOKEN_EXPIRED
├── Forbidden                   403 FORBIDDEN
├── NotFound                    404 RESOURCE_NOT_FOUND
├── MethodNotAllowed            405 METHOD_NOT_ALLOWED
├── NotAcceptable               406 NOT_ACCEPTABLE
├── Conflict                    409 RESOURCE_CONFLICT, MODEL_IN_USE
├── RangeNotSatisfiable         416 RANGE_NOT_SATISFIABLE
├── RateLimitExceeded           429 RATE_LIMIT_EXCEEDED
├── InternalError               500 INTERNAL_ERROR, DATABASE_ERROR
└── ServiceUnavailable          503 SERVICE_UNAVAILABLE
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from starlette.types import Scope

from api.responses import Json

LONGEST_SHOWN = 200  # characters of a path


class ApiError(Exception):
    """An answer other than the one hoped for; subclasses fix its code and status."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        message: str,
        *,
        details: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.headers = dict(headers or {})
        self.http_status = status or self.status
        self.error_code = code or self.code

    def body(self, trace_id: str) -> dict[str, Any]:
        """The object under ``error``; ``details`` only where there are facts about fields."""
        error: dict[str, Any] = {"code": self.error_code, "message": self.message}
        if self.details:
            error["details"] = self.details
        error["trace_id"] = trace_id
        return error


class ValidationFailed(ApiError):
    """A field has a value that it cannot have."""

    code = "VALIDATION_ERROR"
    status = 422


class MissingRequiredField(ValidationFailed):
    """A field that must be there is not."""

    code = "MISSING_REQUIRED_FIELD"


class InvalidFileFormat(ApiError):
    """The upload is no MATLAB file, or holds no battery cycles."""

    code = "INVALID_FILE_FORMAT"
    status = 400


class TooLarge(ApiError):
    """The body is larger than may be sent."""

    code = "FILE_TOO_LARGE"
    status = 413


class Unauthenticated(ApiError):
    """Nobody known is asking. ``code`` says why."""

    code = "INVALID_TOKEN"
    status = 401

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ApiError):
    """Known, but not allowed."""

    code = "FORBIDDEN"
    status = 403


class NotFound(ApiError):
    """There is no such thing."""

    code = "RESOURCE_NOT_FOUND"
    status = 404


class MethodNotAllowed(ApiError):
    """The path exists, the verb does not."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class NotAcceptable(ApiError):
    """What is asked for cannot be given in any format that the client takes."""

    code = "NOT_ACCEPTABLE"
    status = 406


class RangeNotSatisfiable(ApiError):
    """The file has no bytes where they are asked for."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416


class Conflict(ApiError):
    """The state of the resource does not allow it."""

    code = "RESOURCE_CONFLICT"
    status = 409


class ModelInUse(Conflict):
    """A job or a prediction in flight uses the model."""

    code = "MODEL_IN_USE"


class RateLimitExceeded(ApiError):
    """Too many calls; the headers say how many are allowed and when to come back."""

    code = "RATE_LIMIT_EXCEEDED"
    status = 429


class InternalError(ApiError):
    """A defect of the server."""

    code = "INTERNAL_ERROR"
    status = 500


class DatabaseError(InternalError):
    """The database refused or is away."""

    code = "DATABASE_ERROR"


class ServiceUnavailable(ApiError):
    """Prefect, BentoML or MLflow cannot be reached."""

    code = "SERVICE_UNAVAILABLE"
    status = 503


def no_such(noun: str, identifier: int) -> NotFound:
    """``Battery with ID 999 not found``."""
    return NotFound(f"{noun} with ID {identifier} not found")


def nothing_at(path: str) -> NotFound:
    """``There is nothing at /api/v1/nothing``; of a long path its beginning."""
    shown = path if len(path) <= LONGEST_SHOWN else f"{path[:LONGEST_SHOWN]}…"
    return NotFound(f"There is nothing at {shown}")


def not_valid(field: str, issue: str) -> ValidationFailed:
    """``Not valid: cycle_index``, with what is wrong with it."""
    return ValidationFailed(f"Not valid: {field}", details=[{"field": field, "issue": issue}])


def trace_id_of(scope: Scope) -> str:
    """The id of this request, as the outermost middleware made it."""
    return str(scope["state"]["trace_id"])


def rendered(error: ApiError, scope: Scope) -> Json:
    """The envelope as a response."""
    scope["state"]["error_code"] = error.error_code  # for the log line
    return Json({"error": error.body(trace_id_of(scope))}, status_code=error.http_status, headers=error.headers)
