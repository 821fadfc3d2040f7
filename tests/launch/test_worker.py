"""The rounds beside the worker: what they close, and when they ask for ``reconcile``."""

from contextlib import nullcontext
from datetime import timedelta

import prefect.client.orchestration
import pytest

from flows import lost_runs, reconciling
from launch import worker
from store.settings import Settings


@pytest.fixture
def asked(monkeypatch):
    """How often ``reconcile`` was asked for."""
    calls = []
    monkeypatch.setattr(worker, "ask_for_reconciliation", calls.append)
    monkeypatch.setattr(prefect.client.orchestration, "get_client", lambda *, sync_client: nullcontext("prefect"))
    return calls


@pytest.fixture
def waited(monkeypatch):
    """How long pending runs may take, by look."""
    allowed = []
    monkeypatch.setattr(lost_runs, "close_lost", lambda _prefect, pending_for: allowed.append(pending_for) or [])
    return allowed


class TestLook:
    def test_asks_where_there_is_something_to_do_and_not_again_at_once(self, asked, waited, monkeypatch):
        needed = [False, True, True]
        monkeypatch.setattr(reconciling, "is_needed", lambda _prefect: needed.pop(0))
        rounds = worker.Rounds(Settings())
        counts = []
        for _ in range(3):
            rounds.look(None)
            counts.append(len(asked))
        assert counts == [0, 1, 1]
        assert waited == [timedelta(minutes=5)] * 3

    def test_asks_again_after_a_while(self, asked, waited, monkeypatch):
        monkeypatch.setattr(reconciling, "is_needed", lambda _prefect: True)
        rounds = worker.Rounds(Settings())
        rounds.look(None)
        rounds.asked_at -= worker.ASK_EVERY_S
        rounds.look(None)
        assert len(asked) == 2


class TestRun:
    @pytest.mark.parametrize(
        ("elsewhere", "first"), [(None, timedelta(0)), ("http://prefect.example/api", timedelta(minutes=5))]
    )
    def test_only_beside_its_own_prefect_nothing_else_can_have_taken_what_is_pending(
        self, elsewhere, first, asked, waited, monkeypatch
    ):
        monkeypatch.setattr(reconciling, "is_needed", lambda _prefect: False)

        def stop_after_two(_seconds: float) -> None:
            if len(waited) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(worker.time, "sleep", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            worker.Rounds(Settings(prefect_url=elsewhere)).run()
        assert waited == [first, timedelta(minutes=5)]

    def test_goes_on_after_prefect_was_away(self, asked, monkeypatch, capsys):
        import httpx

        looks = []

        def close(_prefect: object, _pending_for: timedelta) -> list[str]:
            looks.append(_pending_for)
            if len(looks) < 3:
                raise httpx.ConnectError("away")
            return []

        def stop_after_three(_seconds: float) -> None:
            if len(looks) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(lost_runs, "close_lost", close)
        monkeypatch.setattr(reconciling, "is_needed", lambda _prefect: False)
        monkeypatch.setattr(worker.time, "sleep", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            worker.Rounds(Settings()).run()
        assert looks == [timedelta(0)] * 3  # what was pending at the start is not forgotten
        assert capsys.readouterr().err == "not looked after jobs: away\n"  # said once
