"""What may go wrong without being a defect of the program, and how it is said in one line."""

import subprocess

import httpx
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from store.data_versions import DataVersionError
from store.users import AccountError


class StartFailed(RuntimeError):
    """The stack cannot start; the message says what to do."""


class DeploymentFailed(RuntimeError):
    """Prefect refused; the message says why."""


# Of the machine, the settings, the database and the other processes.
EXPECTED = (
    StartFailed,
    DeploymentFailed,
    AccountError,
    ValidationError,
    OSError,
    ImportError,
    httpx.HTTPError,
    SQLAlchemyError,
    CommandError,
    subprocess.TimeoutExpired,
    DataVersionError,
)
REMOTE_CLIENTS = ("dvc", "botocore", "aiobotocore")  # packages; imported only by who uses a remote


def explained(error: BaseException) -> str | None:
    """What to tell of an expected failure; None for a defect, which deserves its traceback."""
    if isinstance(error, ValidationError):
        return "; ".join(f"BATTERY_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
    if isinstance(error, SQLAlchemyError):
        return f"database: {str(error).splitlines()[0]}"
    if type(error).__module__.partition(".")[0] in REMOTE_CLIENTS:
        return f"data versions: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if isinstance(error, EXPECTED):
        return str(error) or type(error).__name__
    return None
