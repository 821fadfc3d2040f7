"""What health and version say."""

from typing import Literal

from pydantic import Field

from api.responses import Schema


class Health(Schema):
    """The API answers, and so does its database."""

    status: Literal["ok"] = "ok"
    database: Literal["ok"] = "ok"


class Version(Schema):
    """Which release this is."""

    version: str = Field(examples=["0.1.0"])
    api: Literal["v1"] = "v1"
