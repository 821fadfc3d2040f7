"""Hyperparameters of each algorithm: strict, bounded, documented. No torch here, so that the API can import it.

An integer is taken where a float is wanted; nothing else is converted, unknown names are refused.
"""

from pydantic import BaseModel, ConfigDict, Field


class Hyperparameters(BaseModel):
    """What every algorithm understands."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    epochs: int = Field(100, ge=1, le=10_000, description="Passes over the training windows.")
    batch_size: int = Field(32, ge=1, le=65_536, description="Windows per optimiser step; more than there are is fine.")
    learning_rate: float = Field(0.001, gt=0, le=1, description="Peak learning rate of AdamW; it falls along a cosine.")
    patience: int | None = Field(
        None, ge=1, le=10_000, description="Stop after so many epochs without a better validation loss; null: never."
    )
    window: int = Field(16, ge=1, le=512, description="Cycles that the model looks back over, this one included.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same seed, same machine, same numbers.")
    ensemble_size: int = Field(3, ge=1, le=16, description="Networks trained side by side; their spread tells doubt.")


class BaselineHyperparameters(Hyperparameters):
    """`baseline`: a feed-forward network on the features of the last cycle (or their mean over `window` cycles)."""

    window: int = Field(1, ge=1, le=512, description="Cycles whose features are averaged; 1 takes the last alone.")


class BiLstmHyperparameters(Hyperparameters):
    """`bilstm`: a bidirectional LSTM over the window's cycles."""

    window: int = Field(64, ge=1, le=512, description="Cycles that the model looks back over, this one included.")
    hidden_size: int = Field(64, ge=1, le=1024, description="Units of the LSTM in each direction.")


class DeepHpmHyperparameters(Hyperparameters):
    """`deephpm`: a physics-informed network; its loss also asks for a consistent law of degradation."""

    window: int = Field(1, ge=1, le=512, description="Cycles whose features are averaged; 1 takes the last alone.")
    physics_weight: float = Field(0.5, ge=0, le=100, description="Weight of the physics terms beside the data term.")


HYPERPARAMETERS: dict[str, type[Hyperparameters]] = {
    "baseline": BaselineHyperparameters,
    "bilstm": BiLstmHyperparameters,
    "deephpm": DeepHpmHyperparameters,
}
