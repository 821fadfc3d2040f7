"""What is asked of predictions, and what is answered."""

from typing import Annotated, Any

from pydantic import Field, SkipValidation

from api.responses import LARGEST_ID, ROUNDED, Fraction, Number, Request, Schema, Timestamp
from api.training_jobs.schemas import Algorithm

MOST_SAMPLES = 100_000
MOST_REQUESTS = 50

Sample = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Samples = Annotated[list[Sample], Field(min_length=2, max_length=MOST_SAMPLES)]
Flag = Annotated[bool, Field(strict=True)]
Estimate = Annotated[float, ROUNDED]
Key = Annotated[int, Field(strict=True, ge=1, le=LARGEST_ID)]


class CycleData(Request):
    """One cycle's samples: equally long arrays of finite numbers. Current is positive on charge."""

    voltage: Samples = Field(description="V", examples=[[3.5, 3.6, 3.7, 3.8]])
    current: Samples = Field(description="A", examples=[[1.0, 1.0, 1.0, 1.0]])
    temperature: Samples | None = Field(None, description="°C", examples=[[25.0, 25.5, 26.0, 26.5]])
    time: Samples | None = Field(
        None, description="s, not decreasing. Without it, whatever needs time is unknown.", examples=[[0, 60, 120, 180]]
    )
    nominal_capacity: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Ah. Without it, whatever is measured against it is unknown.", examples=[1.1]
    )


class PredictionRequest(Request):
    """Which cell to judge, by a battery's latest cycles or by the samples of one cycle; and with which model."""

    algorithm: Algorithm
    model_id: Key | None = Field(None, description="The serving model of the algorithm, when left out.", examples=[8])
    battery_id: Key | None = Field(None, examples=[125])
    cycle_data: CycleData | None = None
    cycle_index: Annotated[int, Field(strict=True, ge=-LARGEST_ID, le=LARGEST_ID)] | None = Field(
        None, description="Predict as of this cycle of the battery, as if no later one were known.", examples=[100]
    )
    forecast: Flag = Field(default=False, description="Add the predicted SoH from now to the end of life.")
    explain: Flag = Field(default=False, description="Add which features moved the answer.")


class BatchRequest(Request):
    """Up to 50 predictions; each is checked by itself, so that one that is wrong does not sink the others."""

    requests: list[SkipValidation[PredictionRequest]] = Field(min_length=1, max_length=MOST_REQUESTS)


class Forecast(Schema):
    """SoH from the cycle asked about to the predicted end of life, in columns of at most 200 points."""

    end_of_life: float = Field(description="SoH at which it ends.", examples=[0.8])
    fade_per_cycle: Estimate | None = Field(description="SoH lost a cycle over the latest 50 cycles, where known.")
    cycles_ahead: list[int] = Field(examples=[[0, 60, 121]])
    cycle_index: list[int] | None = Field(description="The same as cycle numbers; null for `cycle_data`.")
    soh: list[float] = Field(examples=[[0.87, 0.84, 0.8]])
    lower: list[float] | None = Field(description="Lower edge of the band.", examples=[[0.84, 0.79, 0.73]])
    upper: list[float] | None = Field(description="Upper edge of the band.", examples=[[0.9, 0.88, 0.85]])


class Moved(Schema):
    """What one feature did to an answer."""

    feature: str = Field(examples=["cv_duration_h"])
    value: Annotated[Number, ROUNDED] = Field(description="Of the cycle asked about.")
    typical: Annotated[Number, ROUNDED] = Field(description="What it usually was in training.")
    soh: Estimate = Field(description="SoH answered, less SoH answered with this feature at its typical value.")
    rul: Estimate = Field(description="The same of RUL, cycles.")


class Result(Schema):
    """How healthy, how long still, how sure."""

    soh: Annotated[Fraction, ROUNDED] = Field(
        description="State of health: capacity / nominal capacity.", examples=[0.87]
    )
    rul: Annotated[Number, ROUNDED] = Field(description="Cycles until the end of life, ≥ 0.", examples=[120.5])
    confidence: Annotated[Fraction, ROUNDED] = Field(
        description="Calibrated probability that the true SoH lies within ±0.02 of `soh`.", examples=[0.91]
    )
    soh_interval: list[Estimate] | None = Field(None, description="90 % interval.", examples=[[0.84, 0.9]])
    rul_interval: list[Estimate] | None = Field(
        None,
        description="90 % interval, cycles; a factor of 4 either way where no held-out RUL was known.",
        examples=[[80.0, 160.0]],
    )
    calibration: Any = Field(None, description="What the confidence was calibrated on.")
    warnings: list[str] = Field(default=[], description="What the answer should be taken with care for.")
    forecast: Forecast | None = Field(None, description="Where `forecast` was asked for.")
    explanation: list[Moved] | None = Field(
        None, description="Where `explain` was asked for: the features that moved SoH most, those first."
    )


class PredictionAnswer(Schema):
    """A prediction, as answered and as kept in the audit trail."""

    id: int = Field(examples=[101])
    algorithm: Algorithm
    model_id: int = Field(examples=[8])
    battery_id: int | None = Field(examples=[125])
    cycle_index: int | None = Field(description="Of the battery's cycle that it speaks of.", examples=[168])
    result: Result
    created_at: Timestamp
    model_version: str | None = Field(description="MAJOR.MINOR.PATCH of the model.", examples=["1.0.0"])
    run_id: str | None = Field(description="The model's run in MLflow.")
    data_version: str | None = Field(description="The version of the data set that the model learned from.")
    cached: bool = Field(description="True where the same question had been answered by the same model before.")
    input_hash: str = Field(description="SHA-256 of what the model was shown.")
    latency_ms: float = Field(description="From the request's arrival to the answer being kept.", examples=[7.5])
    user_id: int | None = Field(description="The account that asked.", examples=[1])


class FailedPrediction(Schema):
    """Stands where an item of a batch failed."""

    error: dict[str, Any] = Field(
        examples=[
            {"code": "RESOURCE_NOT_FOUND", "message": "Battery with ID 999 not found", "trace_id": "req_5f1d7a84"}
        ]
    )


class BatchAnswer(Schema):
    """Answers in the order asked."""

    results: list[PredictionAnswer | FailedPrediction]
