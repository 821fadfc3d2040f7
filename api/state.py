"""What one running API holds: made in ``create_app``, reached from endpoints by the dependency ``state_of``."""

from dataclasses import dataclass

import httpx
from anyio import CapacityLimiter
from starlette.requests import HTTPConnection

from api.artifacts import Artifacts
from api.batteries.kept_pages import KeptPages
from api.limits import Limits
from api.models.service import InFlight
from api.outbox import Outbox
from api.predictions.service import Predictor
from api.serving import Serving
from api.training_jobs.feed import Feed
from store.settings import Settings


@dataclass
class State:
    """Settings, key, limits and the doors to the other parts."""

    settings: Settings
    secret_key: str
    limits: Limits
    hashing: CapacityLimiter  # passwords checked at once
    pages: CapacityLimiter  # pages of cycles written at once
    kept_pages: KeptPages
    parsing: CapacityLimiter  # uploads parsed at once
    feed: Feed
    outbox: Outbox
    serving: Serving
    artifacts: Artifacts
    in_flight: InFlight
    predictor: Predictor
    clients: tuple[httpx.AsyncClient, ...]  # closed with the API


async def state_of(connection: HTTPConnection) -> State:
    """The state of the application that serves this request or socket."""
    state = connection.app.state.running
    assert isinstance(state, State)  # noqa: S101 - create_app sets it
    return state
