"""What is said of versions of the data set."""

from pydantic import Field

from api.responses import Schema, Timestamp


class DataVersionAnswer(Schema):
    """A state of the data set that DVC keeps."""

    id: int = Field(examples=[7])
    hash: str = Field(
        description="DVC's hash of the folder `data`; models name the one that they learned from.",
        examples=["d751713988987e9331980363e24189ce.dir"],
    )
    battery_count: int = Field(examples=[124])
    size_bytes: int = Field(description="Of all its files.", examples=[2147483648])
    created_at: Timestamp
    pushed_at: Timestamp | None = Field(description="When the remote had all of it; null before.")
    current: bool = Field(description="Whether the data set is in this state now.")
