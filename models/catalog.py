"""Which network an algorithm is; its hyperparameters are in `models.hyperparameters`, which knows no torch."""

from collections.abc import Callable
from typing import Any

from models.bilstm import BiLstm, BiLstmConfig
from models.deephpm import DeepHpm, DeepHpmConfig
from models.mlp import Mlp, MlpConfig
from models.network import Network

CATALOG: dict[str, Callable[[int, Any], Network]] = {  # C columns of the input scaler, hyperparameters of the algorithm
    "baseline": lambda columns, _: Mlp(MlpConfig(columns)),
    "bilstm": lambda columns, asked: BiLstm(BiLstmConfig(columns, asked.hidden_size, asked.window)),
    "deephpm": lambda columns, asked: DeepHpm(DeepHpmConfig(columns, physics_weight=asked.physics_weight)),
}
