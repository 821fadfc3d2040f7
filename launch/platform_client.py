"""The platform as its users reach it: HTTP and one WebSocket, with the errors of its envelope."""

import json
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.sync.client import connect

UPLOAD_WITHIN_S = 300
ANSWER_WITHIN_S = 60
HEARTBEAT_S = 15  # after which the server breaks its silence
SILENCE_S = 60  # after which a connection is taken for lost
RECONNECTIONS = 10  # in a row, with growing pauses: 27 s in all
PAUSE_S = 0.5


class CallFailed(RuntimeError):
    """The platform refused or did not answer; the message says what and why."""


class PlatformClient:
    """One account's calls. Paths are below ``/api/v1``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.account: tuple[str, str] | None = None
        self.http = httpx.Client(base_url=f"{root}/api/v1", timeout=ANSWER_WITHIN_S, trust_env=False)

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Answer of one call, as a dictionary. Raises CallFailed."""
        try:
            response = self.http.request(method, path, **options)
        except httpx.ConnectError as error:
            raise CallFailed(f"nothing answers at {self.root} ({error}); `battery up` starts a platform") from error
        except httpx.HTTPError as error:
            raise CallFailed(f"{method} {path}: {error or type(error).__name__}") from error
        if not response.is_success:
            raise CallFailed(f"{method} {path}: {response.status_code} {refusal(response)}")
        answer: dict[str, Any] = response.json()
        return answer

    def sign_in(self, email: str, password: str) -> None:
        """Use this account from now on."""
        self.account = (email, password)
        answer = self.call("POST", "/auth/token", data={"username": email, "password": password})
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def upload(self, name: str, file: BinaryIO) -> dict[str, Any]:
        """The battery made from a ``.mat`` file."""
        files = {"file": (name, file, "application/octet-stream")}
        return self.call("POST", "/batteries", files=files, timeout=UPLOAD_WITHIN_S)

    def follow(self, job_id: int, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Messages of a training job until its last one, and heartbeats; a broken connection goes on where it broke.

        A token that expires meanwhile is replaced. ``after``: also those that came after this ``seq``, 0 for all.
        Raises CallFailed.
        """
        tries = 0
        while tries < RECONNECTIONS:
            try:
                for message in self.messages(job_id, after):
                    tries = 0
                    after = message.get("seq", after)
                    yield message
                    if message["type"] in {"complete", "error"}:
                        return
            except (OSError, WebSocketException) as error:
                if isinstance(error, InvalidHandshake):
                    raise CallFailed(f"WebSocket of job {job_id}: {error}") from error
                if self.account is not None and close_reason(error) == "TOKEN_EXPIRED":
                    self.sign_in(*self.account)
            tries += 1
            time.sleep(PAUSE_S * tries)
        raise CallFailed(f"WebSocket of job {job_id}: no connection after {RECONNECTIONS} tries")

    def messages(self, job_id: int, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Messages of one connection."""
        since = "" if after is None else f"&after={after}"
        socket_of_job = f"/api/v1/training-jobs/{job_id}/ws?heartbeat={HEARTBEAT_S}{since}"
        address = f"{self.root.replace('http', 'ws', 1)}{socket_of_job}"
        headers = {"Authorization": self.http.headers["Authorization"]}
        with connect(address, additional_headers=headers, proxy=None, close_timeout=2) as socket:
            while True:
                yield json.loads(socket.recv(timeout=SILENCE_S))


def close_reason(error: Exception) -> str:
    """Why the server closed a socket, where it said so."""
    return error.rcvd.reason if isinstance(error, ConnectionClosed) and error.rcvd is not None else ""


def refusal(response: httpx.Response) -> str:
    """Code, message and fields of the error envelope, which are said once, else the text."""
    try:
        error = response.json()["error"]
        message = error["message"]
        details = [detail for detail in error.get("details") or [] if detail["issue"] not in message]
        fields = "; ".join(f"{detail['field']}: {detail['issue']}" for detail in details)
        return f"{error['code']}: {message}" + (f" ({fields})" if fields else "")
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
