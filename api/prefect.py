"""Prefect's REST API: start a deployment by name, see whether a run has begun, cancel it. The library stays out."""

import asyncio
from typing import Any

import httpx

from api.errors import ServiceUnavailable

TIMEOUT_S = 15.0  # nobody waits for the answer
BUSY = frozenset({429, 503})  # Prefect answers 503 while its own database is locked
BUSY_WAITS_S = (0.1, 0.3, 0.9)
NOT_BEGUN = frozenset({"SCHEDULED", "PENDING"})  # also late ones, and those that wait for another try


class PrefectRefused(ServiceUnavailable):
    """Prefect answers, but not to this: another call may well succeed."""


class Prefect:
    """A client of one Prefect server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._deployments: dict[str, str] = {}  # name → id

    async def start(self, deployment: str, parameters: dict[str, Any], *, key: str, name: str | None = None) -> str:
        """Ask for a run of ``flow/deployment``; its id. The same ``key`` gives the same run.

        Raises ServiceUnavailable when Prefect is away or does not know the deployment.
        """
        body = {"parameters": parameters, "idempotency_key": key, **({"name": name} if name else {})}
        answer = await self._create_run(deployment, body)
        if answer.status_code == 404:  # deployed anew meanwhile: it has another id
            self._deployments.pop(deployment, None)
            answer = await self._create_run(deployment, body)
        return str(_checked(answer)["id"])

    async def is_waiting(self, flow_run_id: str) -> bool:
        """Whether a run has not begun: nothing of its flow was executed yet. False for an unknown one."""
        answer = await self._send("GET", f"/flow_runs/{flow_run_id}")
        return answer.status_code != 404 and (_checked(answer).get("state") or {}).get("type") in NOT_BEGUN

    async def cancel(self, flow_run_id: str) -> None:
        """Cancel a run: at once when it has not started, else by asking its worker. Finished ones stay as they are."""
        answer = await self._send("GET", f"/flow_runs/{flow_run_id}")
        if answer.status_code == 404:
            return
        state = (_checked(answer).get("state") or {}).get("type")
        wanted = {"SCHEDULED": "CANCELLED", "PENDING": "CANCELLING", "RUNNING": "CANCELLING", "PAUSED": "CANCELLED"}
        if state in wanted:
            to = wanted[state]
            body = {"state": {"type": to, "name": to.capitalize(), "message": "Stopped by its user"}}
            _checked(await self._send("POST", f"/flow_runs/{flow_run_id}/set_state", json=body))

    async def _create_run(self, deployment: str, body: dict[str, Any]) -> httpx.Response:
        if deployment not in self._deployments:
            found = _checked(await self._send("GET", f"/deployments/name/{deployment}"))
            self._deployments[deployment] = str(found["id"])
        return await self._send("POST", f"/deployments/{self._deployments[deployment]}/create_flow_run", json=body)

    async def _send(self, verb: str, path: str, **content: Any) -> httpx.Response:
        try:
            for wait_s in BUSY_WAITS_S:
                answer = await self._http.request(verb, path, **content)
                if answer.status_code not in BUSY:
                    return answer
                await asyncio.sleep(wait_s)
            return await self._http.request(verb, path, **content)
        except httpx.HTTPError as error:
            raise ServiceUnavailable("Prefect cannot be reached") from error


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        found: dict[str, Any] = answer.json()
        return found
    raise PrefectRefused(f"Prefect answered {answer.status_code} to {answer.request.method} {answer.request.url.path}")
