"""A step of a job that needs MLflow waits for it: what took hours to train survives the restart of a server."""

import time
from collections.abc import Callable
from typing import TypeVar

from flows import publishing
from models.observer import Observer, Stopped

T = TypeVar("T")

AWAY_FOR_S = 6 * 3600.0  # then the job fails
TRIES = 3  # while MLflow answers: it came back in the middle of one, or it does refuse
PAUSE_S = 1.0


class MlflowAway(Exception):
    """MLflow could not be reached for hours; the message is made for the user."""


def patiently(work: Callable[[], T], observer: Observer, clock: Callable[[], float] = time.monotonic) -> T:
    """What ``work``, which may be done again, gives once MLflow lets it.

    Raises Stopped when the job was stopped meanwhile, MlflowAway, or what ``work`` raises while MLflow answers.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    tries = 0
    while True:
        tries += 1
        try:
            return work()
        except (MlflowException, RequestException):
            if not publishing.mlflow_answers():
                observer.log("warning", "MLflow cannot be reached; the job goes on when it is back")
                await_mlflow(observer, clock)
                observer.log("info", "MLflow is back")
            elif tries >= TRIES:
                raise


def await_mlflow(observer: Observer, clock: Callable[[], float]) -> None:
    """Return when MLflow answers. Raises Stopped or MlflowAway."""
    deadline = clock() + AWAY_FOR_S
    while not publishing.mlflow_answers():
        if observer.should_stop():
            raise Stopped("stopped while MLflow was away")
        if clock() > deadline:
            raise MlflowAway(f"MLflow could not be reached for {AWAY_FOR_S / 3600:.0f} hours; submit the job again")
        time.sleep(PAUSE_S)
