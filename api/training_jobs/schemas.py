"""What is asked of training jobs, and what is said of them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.pagination import Meta
from api.responses import LARGEST_ID, Fraction, Number, Request, Schema, Text, Timestamp

Algorithm = Literal["baseline", "bilstm", "deephpm"]
Status = Literal["queued", "running", "succeeded", "failed", "stopped"]
MOST_BATTERIES = 10_000


class NewJob(Request):
    """What to train, on what."""

    algorithm: Algorithm = Field(description="Feed-forward network, bidirectional LSTM or physics-informed network.")
    battery_ids: list[Annotated[int, Field(ge=1, le=LARGEST_ID, strict=True)]] = Field(
        min_length=1, max_length=MOST_BATTERIES, description="Batteries to learn from.", examples=[[125]]
    )
    hyperparams: dict[str, Any] = Field(
        default_factory=dict,
        description="`epochs` 100, `batch_size` 32, `learning_rate` 0.001; `bilstm` also `hidden_size` 64; `deephpm` "
        "also `physics_weight` 0.5. What is left out has these defaults.",
        examples=[{"epochs": 100, "batch_size": 32, "learning_rate": 0.001}],
    )
    model_name: Text | None = Field(
        None, description="Name of the model; the algorithm's when left out.", examples=["bilstm-tutorial-model"]
    )


class TrainingJob(Schema):
    """A training job: `queued → running → succeeded | failed | stopped`."""

    id: int = Field(examples=[43])
    status: Status
    algorithm: Algorithm
    progress: Fraction = Field(description="0 to 1.", examples=[0.45])
    current_epoch: int = Field(examples=[45])
    total_epochs: int = Field(examples=[100])
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    model_id: int | None = Field(description="The model that it made, once it succeeded.", examples=[8])
    battery_ids: list[int] = Field(examples=[[125]])
    hyperparams: dict[str, Any] = Field(description="Complete, with the defaults filled in.")
    model_name: str | None
    current_loss: Number = Field(examples=[0.15])
    error_message: str | None = Field(description="Why it failed or stopped.")


class LogLine(Schema):
    """One line of a job's log."""

    timestamp: Timestamp
    level: str = Field(examples=["INFO"])
    message: str = Field(examples=["Epoch 45/100: loss 0.15, validation 0.24"])


class Logs(Schema):
    """A page of a job's log, oldest first."""

    logs: list[LogLine]
    meta: Meta


class Metrics(Schema):
    """Loss curves: three lists of the same length."""

    train_loss: list[Number] = Field(examples=[[0.5, 0.4, 0.3]])
    val_loss: list[Number] = Field(examples=[[0.52, 0.42, 0.35]])
    epochs: list[int] = Field(examples=[[1, 10, 20]])
