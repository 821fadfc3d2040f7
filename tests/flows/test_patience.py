import pytest
from mlflow.exceptions import MlflowException

from flows import patience, publishing
from models.observer import Stopped


class Observer:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.stopped = False

    def log(self, level, message):
        self.said.append(f"{level}: {message}")

    def epoch(self, epoch):
        raise AssertionError

    def should_stop(self):
        return self.stopped


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def mlflow(monkeypatch):
    """Answers to whether MLflow is there; the last one stays."""
    answers: list[bool] = []
    monkeypatch.setattr(publishing, "mlflow_answers", lambda: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    return answers


def failing(times: int, error: Exception):
    """Work that fails so often before it gives ``done``."""
    left = [error] * times

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    return work


class TestPatiently:
    def test_does_it_again_when_mlflow_is_back(self, observer, mlflow):
        mlflow += [False, False, False, True]
        assert patience.patiently(failing(1, MlflowException("away")), observer) == "done"
        assert observer.said == [
            "warning: MLflow cannot be reached; the job goes on when it is back",
            "info: MLflow is back",
        ]

    def test_tries_three_times_while_mlflow_answers(self, observer, mlflow):
        mlflow += [True]
        assert patience.patiently(failing(2, MlflowException("restarted")), observer) == "done"
        with pytest.raises(MlflowException, match="refused"):
            patience.patiently(failing(3, MlflowException("refused")), observer)

    def test_what_is_not_of_mlflow_is_not_tried_again(self, observer, mlflow):
        with pytest.raises(ValueError, match="defect"):
            patience.patiently(failing(1, ValueError("defect")), observer)

    def test_a_stop_ends_the_waiting(self, observer, mlflow):
        mlflow += [False]
        observer.stopped = True
        with pytest.raises(Stopped):
            patience.patiently(failing(1, MlflowException("away")), observer)

    def test_has_an_end(self, observer, mlflow):
        mlflow += [False]
        moments = iter([0.0, 3600.0, 6 * 3600.0 + 1])
        with pytest.raises(patience.MlflowAway, match="6 hours"):
            patience.patiently(failing(1, MlflowException("away")), observer, clock=lambda: next(moments))
