import pytest

from flows.observing import JobObserver
from models.observer import Epoch
from store import jobs
from store.session import transaction


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, total=4, train_loss=0.5, val_loss=0.25, seconds=0.1)


@pytest.fixture
def told() -> list[int]:
    return []


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def observer(submit, battery, told, now):
    def make(epochs_told: int = 0) -> JobObserver:
        job_id = submit([battery()], epochs=4)
        with transaction() as rows:
            jobs.mark_running(rows, job_id)
        return JobObserver(job_id, epochs_told, lambda epoch: told.append(epoch.epoch), clock=lambda: now[0])

    return make


class TestEpoch:
    def test_is_an_event_with_its_losses_and_is_handed_on(self, observer, told, events):
        watching = observer()
        watching.epoch(epoch(1))
        payload = events(watching.job_id)[-2].payload
        assert (payload["progress"], payload["current_epoch"], payload["total_epochs"]) == (0.25, 1, 4)
        assert (payload["current_loss"], payload["train_loss"], payload["val_loss"]) == (0.5, 0.5, 0.25)
        assert told == [1]

    def test_is_a_line_of_the_log_too(self, observer, events):
        watching = observer()
        watching.epoch(epoch(1))
        assert events(watching.job_id)[-1].payload == {
            "level": "INFO",
            "message": "Epoch 1/4: loss 0.5, validation 0.25 (0.10 s)",
        }

    def test_says_the_best_so_far_and_how_long_the_rest_takes(self, observer, events, now):
        watching = observer()
        told = []
        for number, val_loss, moment in ((1, 0.4, 100.0), (2, 0.3, 102.0), (3, 0.5, 103.0)):
            now[0] = moment
            watching.epoch(Epoch(epoch=number, total=4, train_loss=0.5, val_loss=val_loss, seconds=0.1))
            payload = events(watching.job_id)[-2].payload
            told.append((payload["best_val_loss"], payload["epoch_seconds"], round(payload["eta_seconds"], 6)))
        assert told == [(0.4, 0.1, 0.3), (0.3, 0.1, 4.0), (0.3, 0.1, 1.5)]

    def test_told_before_a_resume_is_not_told_again(self, observer, told):
        watching = observer(epochs_told=2)
        for number in (2, 3):
            watching.epoch(epoch(number))
        assert told == [3]


class TestShouldStop:
    def test_asks_the_database_only_now_and_then(self, observer, now):
        watching = observer()
        assert not watching.should_stop()
        with transaction() as rows:
            jobs.request_stop(rows, watching.job_id)
        now[0] += 0.2
        assert not watching.should_stop()
        now[0] += 0.2
        assert watching.should_stop()

    def test_knows_at_once_when_an_event_was_refused(self, observer, now):
        watching = observer()
        assert not watching.should_stop()
        with transaction() as rows:
            jobs.request_stop(rows, watching.job_id)
        watching.epoch(epoch(1))
        assert watching.should_stop()
