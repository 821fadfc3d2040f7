import threading

import pytest

from flows.tracking import Tracking
from models.observer import Epoch


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, total=9, train_loss=1.0, val_loss=1.0, seconds=0.1)


class TestEpochs:
    def test_those_that_gather_while_the_run_opens_go_in_one_call(self):
        opening, may_open, calls = threading.Event(), threading.Event(), []

        def open_run() -> str:
            opening.set()
            assert may_open.wait(10)
            return "run"

        tracking = Tracking(open_run, lambda run, epochs: calls.append((run, [e.epoch for e in epochs])))
        tracking.epoch(epoch(1))
        assert opening.wait(10)
        for number in (2, 3):
            tracking.epoch(epoch(number))
        may_open.set()
        assert tracking.flush() == "run"
        assert calls == [("run", [1, 2, 3])]

    def test_no_run_is_opened_before_the_first(self):
        opened = []
        tracking = Tracking(lambda: opened.append("run") or "run", lambda run, epochs: None)
        assert not tracking.started
        assert opened == []
        tracking.epoch(epoch(1))
        assert tracking.started
        tracking.flush()
        assert opened == ["run"]

    def test_goes_on_with_the_next_one_when_mlflow_is_back(self, eventually):
        answers, sent = [ConnectionError("away"), None], []

        def log(run: str, epochs: list[Epoch]) -> None:
            if error := answers.pop(0):
                raise error
            sent.extend(e.epoch for e in epochs)

        tracking = Tracking(lambda: "run", log)
        tracking.epoch(epoch(1))
        eventually(tracking._writing.done, 10, "the first call over", every=0.01)
        tracking.epoch(epoch(2))
        eventually(lambda: sent == [1, 2], 10, "both epochs sent", every=0.01)


class TestFlush:
    def test_sends_again_what_could_not_be_sent(self):
        answers, sent = [ConnectionError("away"), None], []

        def log(run: str, epochs: list[Epoch]) -> None:
            if error := answers.pop(0):
                raise error
            sent.extend(e.epoch for e in epochs)

        tracking = Tracking(lambda: "run", log)
        tracking.epoch(epoch(1))
        tracking.flush()
        assert sent == [1]

    def test_raises_when_mlflow_stays_away(self):
        def away() -> str:
            raise ConnectionError("away")

        tracking = Tracking(away, lambda run, epochs: None)
        tracking.epoch(epoch(1))
        with pytest.raises(ConnectionError, match="away"):
            tracking.flush()
