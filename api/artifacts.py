"""Bytes of registered models, passed on from MLflow's artifact endpoint while they arrive."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx

from api.errors import NotFound, ServiceUnavailable

TIMEOUT_S = 30.0


class Artifacts:
    """A client of one MLflow server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def open(self, path: str) -> AsyncIterator[bytes]:
        """The chunks of an artifact. Raises NotFound, or ServiceUnavailable when MLflow is away."""
        request = self._http.build_request("GET", f"/api/2.0/mlflow-artifacts/artifacts/{quote(path)}")
        try:
            answer = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise ServiceUnavailable("MLflow cannot be reached") from error
        if answer.status_code == 200:
            return _chunks(answer)
        await answer.aclose()
        if answer.status_code == 404:
            raise NotFound("The model's file is no longer in the registry")
        raise ServiceUnavailable(f"MLflow answered {answer.status_code}")


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    finally:
        await answer.aclose()
