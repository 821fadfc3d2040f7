"""Which network an algorithm is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from models.bilstm import BiLstm, BiLstmConfig
from models.deephpm import DeepHpm, DeepHpmConfig
from models.hyperparameters import BiLstmHyperparameters, Hyperparameters
from models.mlp import Mlp, MlpConfig


@dataclass(frozen=True)
class Architecture:
    """How one algorithm's network is built. New models of a changed `major` are 2.0.0, 3.0.0 and so on."""

    major: int
    build: Callable[[int, Hyperparameters], nn.Module]  # C columns of the input scaler, hyperparameters


def _baseline(columns: int, _: Hyperparameters) -> nn.Module:
    return Mlp(MlpConfig(columns))


def _bilstm(columns: int, hyperparameters: Hyperparameters) -> nn.Module:
    if not isinstance(hyperparameters, BiLstmHyperparameters):
        raise TypeError(f"bilstm takes BiLstmHyperparameters, not {type(hyperparameters).__name__}")
    return BiLstm(BiLstmConfig(columns, hyperparameters.hidden_size))


def _deephpm(columns: int, _: Hyperparameters) -> nn.Module:
    return DeepHpm(DeepHpmConfig(columns))


CATALOG: dict[str, Architecture] = {
    "baseline": Architecture(1, _baseline),
    "bilstm": Architecture(1, _bilstm),
    "deephpm": Architecture(1, _deephpm),
}
