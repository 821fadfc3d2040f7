"""What one running API holds: made in ``create_app``, reached from endpoints by the dependency ``state_of``."""

from dataclasses import dataclass

from anyio import CapacityLimiter
from starlette.requests import HTTPConnection

from api.limits import Limits
from store.settings import Settings


@dataclass
class State:
    """Settings, keys and limits of one application."""

    settings: Settings
    secret_key: str
    limits: Limits
    hashing: CapacityLimiter


def state_of(connection: HTTPConnection) -> State:
    """The state of the application that serves this request or socket."""
    state = connection.app.state.running
    assert isinstance(state, State)  # noqa: S101 - create_app sets it
    return state
