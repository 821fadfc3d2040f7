"""Flow runs that Prefect believes in while their process is gone. They would hold places in their queues for ever.

Prefect learns of a process's end from its worker alone: not where both were killed, nor where Prefect was away then.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows import held_runs
from store.deployments import WORK_POOL
from store.tables import utc_now

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

PENDING_FOR = timedelta(minutes=5)  # a worker starts a run within seconds, or died with it


def close_lost(prefect: "SyncPrefectClient", pending_for: timedelta = PENDING_FOR) -> list[str]:
    """Tell Prefect of runs whose process ended here without a word, or never began; their ids.

    ``pending_for``: how long a worker may take from a run's ``Pending`` to its process.
    """
    closed = []
    for flow_run_id in held_runs.without_process():
        flow_run = read(prefect, flow_run_id)
        if flow_run is not None and close(prefect, flow_run):
            closed.append(flow_run_id)
        held_runs.put_away(flow_run_id)
    for flow_run in pending(prefect):
        state = flow_run.state
        begun = (held_runs.folder() / str(flow_run.id)).exists()
        if not begun and state is not None and utc_now() - state.timestamp > pending_for and close(prefect, flow_run):
            closed.append(str(flow_run.id))
    return closed


def read(prefect: "SyncPrefectClient", flow_run_id: str) -> "FlowRun | None":
    """The run; None when Prefect does not know it."""
    from prefect.exceptions import ObjectNotFound

    try:
        return prefect.read_flow_run(UUID(flow_run_id))
    except ObjectNotFound:
        return None


def close(prefect: "SyncPrefectClient", flow_run: "FlowRun") -> bool:
    """Set the run's last state, unless it has one."""
    from prefect.states import Cancelled, Crashed

    state = flow_run.state
    if state is None or state.is_final():
        return False
    reason = "Its process is gone"
    last: State[Any] = Cancelled(message=reason) if state.is_cancelling() else Crashed(message=reason)
    prefect.set_flow_run_state(flow_run.id, last, force=True)
    return True


def pending(prefect: "SyncPrefectClient") -> "list[FlowRun]":
    """Runs that a worker of the pool has taken and not started."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType

    taken = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[WORK_POOL]))
    return list(prefect.read_flow_runs(flow_run_filter=taken, work_pool_filter=pool))
