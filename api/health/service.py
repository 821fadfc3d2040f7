"""Is the database there, and which release is this."""

import tomllib
from functools import cache

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.errors import ServiceUnavailable
from store.session import reading
from store.settings import CHECKOUT


def check_database() -> None:
    """Raise ServiceUnavailable when the database does not answer."""
    try:
        with reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise ServiceUnavailable("The database does not answer") from error


@cache
def release() -> str:
    """The version of this checkout."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return str(project["version"])
