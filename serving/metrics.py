"""What the service tells Prometheus at ``/metrics``, beside BentoML's own counts and durations of requests."""

from collections.abc import Sequence
from typing import Any

from serving.loaded_models import LoadedModels

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of this process. BentoML has to have said where they are kept before prometheus_client is imported."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._predictions = Counter("battery_predictions_total", "Items answered, by outcome.", ["outcome"])
        self._together = Histogram("battery_prediction_items", "Items of one call.", buckets=SIZES)
        self._models = Gauge("battery_models_loaded", "Models in memory.", multiprocess_mode="livesum")
        self._bytes = Gauge("battery_models_bytes", "Memory that they take, about.", multiprocess_mode="livesum")

    def answered(self, answers: Sequence[dict[str, Any]], models: LoadedModels) -> None:
        """Count the answers of one call."""
        refused = sum("error" in answer for answer in answers)
        self._predictions.labels("refused").inc(refused)
        self._predictions.labels("answered").inc(len(answers) - refused)
        self._together.observe(len(answers))
        self._models.set(len(models))
        self._bytes.set(models.size_bytes)
