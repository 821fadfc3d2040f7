"""What is said of models."""

from datetime import date
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.responses import ROUNDED, Number, Schema, Timestamp
from api.training_jobs.schemas import Algorithm

Statistic = Annotated[float, ROUNDED]


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


class Errors(Schema):
    """Predictions beside what was measured."""

    compared: int = Field(description="Predictions of which the truth is known.", examples=[40])
    mean_absolute_error: Statistic
    root_mean_square_error: Statistic
    bias: Statistic = Field(description="Mean of predicted less measured.")
    coverage_90: Statistic | None = Field(
        description="Share of the truths that lay in the 90 % interval.", examples=[0.9]
    )


class Drift(Schema):
    """How far the features asked about are from those learned from: population stability index."""

    inputs: int = Field(description="Questions compared.")
    psi_mean: Statistic
    psi_max: Statistic
    worst: dict[str, Statistic] = Field(description="The features that moved most.", examples=[{"cv_duration_h": 0.31}])


class Week(Schema):
    """One week of a model's predictions."""

    week: str = Field(examples=["2025-W02"])
    begins: date = Field(description="Its Monday, UTC.")
    predictions: int = Field(description="Different questions answered.", examples=[42])
    soh: Errors | None = Field(description="Null while no truth is known.")
    rul: Errors | None = Field(description="Cycles; of cells that reached their end of life later. Null while unknown.")
    mean_confidence: Statistic = Field(examples=[0.9])
    drift: Drift | None = Field(description="Null for fewer than 20 questions, or when the training data is gone.")


class Monitoring(Schema):
    """What became of a model's predictions, by week."""

    model_id: int
    algorithm: Algorithm
    version: str
    trained_on_cycles: int = Field(description="Training cycles that drift is measured against.")
    weeks: list[Week] = Field(description="Newest first; weeks without predictions are left out.")
