"""What is said of models."""

from typing import Any

from pydantic import ConfigDict, Field

from api.responses import Number, Schema, Timestamp
from api.training_jobs.schemas import Algorithm


class ModelMetrics(Schema):
    """How good the model is; further metrics may follow these."""

    model_config = ConfigDict(from_attributes=True, extra="allow")

    train_loss: Number = Field(None, examples=[0.15])
    val_loss: Number = Field(None, examples=[0.24])
    test_accuracy: Number = Field(
        None, description="Share of held-out cycles whose SoH lies within ±0.02 of the truth.", examples=[0.92]
    )


class RegisteredModel(Schema):
    """A registered model."""

    id: int = Field(examples=[8])
    algorithm: Algorithm
    name: str = Field(examples=["bilstm-tutorial-model"])
    version: str = Field(
        description="MAJOR moves with the architecture, MINOR with hyperparameters, PATCH with a retraining.",
        examples=["1.0.0"],
    )
    metrics: ModelMetrics
    created_at: Timestamp
    file_size: int = Field(description="Bytes of the download.", examples=[15728640])
    job_id: int | None = Field(description="The job that trained it.", examples=[43])
    hyperparams: dict[str, Any]
    sha256: str = Field(description="Of the download.")
    run_id: str = Field(validation_alias="mlflow_run_id", description="Its run in MLflow.")
    registered_version: str = Field(validation_alias="mlflow_version", description="Its version in MLflow's registry.")
    data_version: str | None = Field(description="The version of the data set that it learned from.")
