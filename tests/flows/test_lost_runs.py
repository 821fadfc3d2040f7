from datetime import timedelta
from uuid import UUID

import pytest
from prefect.states import Cancelling, Completed, Pending, Running, State

from flows import held_runs, lost_runs
from store.tables import utc_now

pytestmark = pytest.mark.usefixtures("home")


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
