from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Completed, Pending, Running, State

from flows import held_runs, lost_runs
from store.tables import utc_now


class Prefect:
    """As much of Prefect's client as is asked here."""

    def __init__(self) -> None:
        self.runs: dict[UUID, State] = {}

    def add(self, state: State) -> str:
        run_id = uuid4()
        self.runs[run_id] = state
        return str(run_id)

    def read_flow_run(self, run_id: UUID) -> SimpleNamespace:
        if run_id not in self.runs:
            raise ObjectNotFound(Exception("gone"))
        return SimpleNamespace(id=run_id, state=self.runs[run_id])

    def read_flow_runs(self, flow_run_filter: object, work_pool_filter: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(id=run, state=state) for run, state in self.runs.items() if state.is_pending()]

    def set_flow_run_state(self, run_id: UUID, state: State, *, force: bool) -> None:
        assert force
        self.runs[run_id] = state

    def name(self, run_id: str) -> str:
        return self.runs[UUID(run_id)].name


@pytest.fixture
def prefect(home) -> Prefect:
    return Prefect()


@pytest.fixture
def died(prefect):
    """A run of this state whose process held its file and is gone."""

    def die(state: State) -> str:
        run_id = prefect.add(state)
        with pytest.raises(KeyboardInterrupt), held_runs.held(run_id):
            raise KeyboardInterrupt
        return run_id

    return die


class TestCloseLost:
    @pytest.mark.parametrize(("state", "last"), [(Running(), "Crashed"), (Cancelling(), "Cancelled")])
    def test_closes_a_run_whose_process_is_gone(self, state, last, prefect, died):
        run_id = died(state)
        assert lost_runs.close_lost(prefect) == [run_id]
        assert prefect.name(run_id) == last
        assert held_runs.without_process() == []

    def test_leaves_one_that_is_over_or_unknown(self, prefect, died):
        over, unknown = died(Completed()), died(Running())
        del prefect.runs[UUID(unknown)]
        assert lost_runs.close_lost(prefect) == []
        assert prefect.name(over) == "Completed"
        assert held_runs.without_process() == []

    def test_leaves_one_that_lives_or_lives_elsewhere(self, prefect):
        here, elsewhere = prefect.add(Running()), prefect.add(Running())
        with held_runs.held(here):
            assert lost_runs.close_lost(prefect) == []
        assert prefect.name(elsewhere) == "Running"

    @pytest.mark.parametrize(("seconds", "last"), [(59, "Pending"), (61, "Crashed")])
    def test_closes_one_that_was_taken_and_never_began(self, seconds, last, prefect):
        run_id = prefect.add(Pending(timestamp=utc_now() - timedelta(seconds=seconds)))
        lost_runs.close_lost(prefect, timedelta(minutes=1))
        assert prefect.name(run_id) == last

    def test_leaves_one_that_begins_just_now(self, prefect):
        run_id = prefect.add(Pending(timestamp=utc_now() - timedelta(hours=1)))
        with held_runs.held(run_id):
            assert lost_runs.close_lost(prefect, timedelta(0)) == []

    def test_asks_again_where_prefect_was_away(self, prefect, died, monkeypatch):
        run_id = died(Running())

        def away(_run_id: UUID) -> None:
            raise ConnectionError("away")

        with monkeypatch.context() as patched:
            patched.setattr(prefect, "read_flow_run", away)
            with pytest.raises(ConnectionError):
                lost_runs.close_lost(prefect)
        assert lost_runs.close_lost(prefect) == [run_id]
