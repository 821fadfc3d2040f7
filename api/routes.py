"""The table of routes, read from the application, for what must know them before they run."""

from collections.abc import Iterable
from dataclasses import dataclass
from re import Pattern

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

WEBSOCKET = "WEBSOCKET"


@dataclass(frozen=True)
class Route:
    """One path with what may be done on it: HTTP verbs, or ``WEBSOCKET``."""

    path: str
    verbs: frozenset[str]
    pattern: Pattern[str]


def routes_of(app: FastAPI) -> tuple[Route, ...]:
    """All routes, sockets included. A mounted application would hide its own, so there must be none."""
    found = []
    for context in iter_route_contexts(app.routes):
        if context.path is None:
            raise TypeError(f"{context.route!r} hides routes of its own")
        verbs = frozenset(context.methods) if context.methods else frozenset({WEBSOCKET})
        found.append(Route(context.path, verbs, compile_path(context.path)[0]))
    return tuple(found)


def verbs_on(routes: Iterable[Route], path: str) -> set[str]:
    """Everything that may be done on ``path``; empty where there is no such path."""
    return {verb for route in routes if route.pattern.match(path) for verb in route.verbs}
