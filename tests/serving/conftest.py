"""A real MLflow server with small models in its registry."""

from collections.abc import Callable

import numpy as np
import pytest

from batteries import labels
from batteries.cycles import discharge_capacities_ah
from batteries.features import FEATURE_NAMES, FEATURE_VERSION, cycle_features
from batteries.samples import synthetic_cell
from batteries.windows import History
from models.hyperparameters import HYPERPARAMETERS
from models.registry import Registered, Registry
from models.training import Fitted, fit


@pytest.fixture(scope="session")
def registry(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(mlflow_server, tmp_path_factory.mktemp("weights"))


class Silent:
    """An observer that lets training run to its end."""

    def log(self, level, message):
        pass

    def epoch(self, epoch):
        pass

    def should_stop(self):
        return False


@pytest.fixture(scope="session")
def history() -> History:
    """The life of one synthetic cell."""
    recording, nominal_ah = synthetic_cell(cycles=60, nominal_capacity_ah=1.1, seed=0), 1.1
    soh = labels.soh(discharge_capacities_ah(recording, nominal_ah), nominal_ah)
    index = np.array([cycle.index for cycle in recording.cycles])
    features = np.stack([cycle_features(cycle, nominal_ah) for cycle in recording.cycles])
    return History("battery 1", index, features, soh, labels.rul(soh, index, 0.8), nominal_ah, "LFP")


@pytest.fixture(scope="session")
def train(history: History) -> Callable[..., Fitted]:
    """A small model of an algorithm."""

    def do(algorithm: str, feature_version: int = FEATURE_VERSION, **chosen: object) -> Fitted:
        hyperparameters = HYPERPARAMETERS[algorithm](**{"epochs": 1, "ensemble_size": 1, **chosen})
        return fit(
            algorithm,
            hyperparameters,
            [history],
            observer=Silent(),
            feature_names=FEATURE_NAMES,
            feature_version=feature_version,
        )

    return do


@pytest.fixture(scope="session")
def register(registry: Registry) -> Callable[[Fitted], Registered]:
    """Put a model into the registry."""

    def do(fitted: Fitted) -> Registered:
        run_id = registry.start_run(fitted.bundle.algorithm, "test", {}, {})
        registered = registry.register(run_id, fitted, name="test", version="1.0.0")
        registry.end_run(run_id, "FINISHED")
        return registered

    return do
