"""Which network an algorithm is."""

from collections.abc import Callable

from torch import nn

from models.bilstm import BiLstm, BiLstmConfig
from models.deephpm import DeepHpm, DeepHpmConfig
from models.hyperparameters import BiLstmHyperparameters, Hyperparameters
from models.mlp import Mlp, MlpConfig


def _baseline(columns: int, _: Hyperparameters) -> nn.Module:
    return Mlp(MlpConfig(columns))


def _bilstm(columns: int, hyperparameters: Hyperparameters) -> nn.Module:
    if not isinstance(hyperparameters, BiLstmHyperparameters):
        raise TypeError(f"bilstm takes BiLstmHyperparameters, not {type(hyperparameters).__name__}")
    return BiLstm(BiLstmConfig(columns, hyperparameters.hidden_size))


def _deephpm(columns: int, _: Hyperparameters) -> nn.Module:
    return DeepHpm(DeepHpmConfig(columns))


CATALOG: dict[str, Callable[[int, Hyperparameters], nn.Module]] = {  # C columns of the input scaler, hyperparameters
    "baseline": _baseline,
    "bilstm": _bilstm,
    "deephpm": _deephpm,
}
