"""What authentication answers."""

from typing import Literal

from pydantic import Field

from api.responses import Schema, Timestamp


class AccessToken(Schema):
    """A token, and how many seconds it is valid."""

    access_token: str = Field(
        examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyQGV4YW1wbGUuY29tIn0.abc123"]
    )
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the word, no secret
    expires_in: int = Field(description="Seconds.", examples=[3600])


class Account(Schema):
    """Who is signed in."""

    id: int = Field(examples=[1])
    username: str = Field(examples=["user@example.com"])
    email: str = Field(examples=["user@example.com"])
    created_at: Timestamp
