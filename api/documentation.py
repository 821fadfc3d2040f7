"""What OpenAPI says beside the schemas: the envelope of every error, and how to authenticate."""

from typing import Any, Literal

from fastapi.security import OAuth2PasswordBearer
from pydantic import Field

from api.responses import Schema

DESCRIPTION = """
Upload MATLAB cycling data of batteries, train models of their State of Health (SoH) and Remaining Useful Life (RUL),
and ask how healthy a cell is, how long it will last and how sure that is.

Sign in with `POST /api/v1/auth/token` and send the token as `Authorization: Bearer <token>`. Timestamps are UTC with a
trailing `Z`. Every error has the same envelope; its `trace_id` is also in the header `X-Request-ID` and in the server's
log. Live progress of a training job: WebSocket `/api/v1/training-jobs/{job_id}/ws`, described at
`GET /api/v1/training-jobs/{job_id}`.
"""

bearer_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token", scheme_name="bearer", description="A token of POST /auth/token.", auto_error=False
)

EXAMPLES = {
    400: ("INVALID_FILE_FORMAT", "Unable to parse .mat file"),
    401: ("MISSING_TOKEN", "This needs an access token: Authorization: Bearer <token>"),
    404: ("RESOURCE_NOT_FOUND", "Battery with ID 999 not found"),
    406: ("NOT_ACCEPTABLE", "None of what Accept names can be given"),
    409: ("RESOURCE_CONFLICT", "The training job is already finished"),
    413: ("FILE_TOO_LARGE", "The file is larger than 100 MB"),
    416: ("RANGE_NOT_SATISFIABLE", "The file has 1000 bytes"),
    422: ("VALIDATION_ERROR", "Not valid: page_size"),
    429: ("RATE_LIMIT_EXCEEDED", "At most 10 in 60 s; try again in 42 s"),
    500: ("INTERNAL_ERROR", "Something went wrong on the server"),
    503: ("SERVICE_UNAVAILABLE", "The prediction service cannot be reached"),
}

Code = Literal[
    "VALIDATION_ERROR",
    "MISSING_REQUIRED_FIELD",
    "INVALID_FILE_FORMAT",
    "FILE_TOO_LARGE",
    "INVALID_CREDENTIALS",
    "MISSING_TOKEN",
    "INVALID_TOKEN",
    "TOKEN_EXPIRED",
    "FORBIDDEN",
    "RESOURCE_NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "NOT_ACCEPTABLE",
    "RANGE_NOT_SATISFIABLE",
    "RESOURCE_CONFLICT",
    "MODEL_IN_USE",
    "RATE_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "DATABASE_ERROR",
    "SERVICE_UNAVAILABLE",
]


class Detail(Schema):
    """One fact about one field."""

    field: str = Field(examples=["file"])
    issue: str = Field(examples=["File format not recognized or corrupted"])


class ErrorBody(Schema):
    """What went wrong."""

    code: Code
    message: str
    details: list[Detail] | None = Field(None, description="Only where there are facts about fields.")
    trace_id: str = Field(examples=["req_5f1d7a84db5a4e01b3a17c0f"])


class ErrorEnvelope(Schema):
    """The body of every error."""

    error: ErrorBody


def errors(*statuses: int, authenticated: bool = True) -> dict[int | str, dict[str, Any]]:
    """The error responses of an operation, for ``responses=``; the ones of every call are added."""
    everywhere = {401, 422, 429, 500} if authenticated else {500}
    return {status: _response(status) for status in sorted({*statuses, *everywhere})}


def _response(status: int) -> dict[str, Any]:
    code, message = EXAMPLES[status]
    example = {"error": {"code": code, "message": message, "trace_id": "req_5f1d7a84db5a4e01b3a17c0f"}}
    return {"model": ErrorEnvelope, "description": message, "content": {"application/json": {"example": example}}}
