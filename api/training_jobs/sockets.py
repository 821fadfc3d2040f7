"""Live progress: the present state at once, then every event once and in order, then a closing message and 1000."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.authentication import Caller, check_still_valid, subprotocol
from api.errors import NotFound, Unauthenticated, ValidationFailed
from api.responses import LARGEST_ID
from api.state import State, state_of
from api.training_jobs import service
from api.training_jobs.feed import Feed, Follower, Message, TooManyFollowers, message_of, present_state
from api.training_jobs.feed import heartbeat as sign_of_life
from store import jobs
from store.session import reading

router = APIRouter(prefix="/training-jobs")
DONE = 1000
REFUSED = 1008
MOST_MISSED = 1000  # the feed brings the rest
CHECK_S = 15.0  # a token that was given up or expired meanwhile closes its sockets
NEVER = float("inf")
SEND_S = 10.0  # a client that takes longer for one frame is dropped


@router.websocket("/{job_id}/ws")
@router.websocket("/{job_id}/stream")
async def follow_job(
    socket: WebSocket,
    job_id: str,
    state: Annotated[State, Depends(state_of)],
    after: str | None = None,
    heartbeat: str | None = None,
) -> None:
    """Send frames until the job is over, the client leaves, or nothing was said for a while."""
    await socket.accept(subprotocol=subprotocol(socket.scope))
    code, reason = DONE, ""
    try:
        number, seen = whole(job_id, "job_id"), None if after is None else whole(after, "after")
        beat_s = NEVER if heartbeat is None else max(1, whole(heartbeat, "heartbeat"))
        async with _place(state.feed, number):
            code, reason = await _serve(Line(socket, number, beat_s), seen, state)
    except (NotFound, ValidationFailed) as error:
        code, reason = REFUSED, error.message
    except TooManyFollowers:
        code, reason = REFUSED, "This job has as many clients as it may have"
    except TimeoutError:
        code, reason = REFUSED, "Reads too slowly"
    except WebSocketDisconnect:
        return
    await socket.close(code, reason)


def whole(text: str, name: str) -> int:
    """A number of a socket's address; the framework would refuse a wrong one before the socket is open."""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID)):
        return int(text)
    raise ValidationFailed(f"Not valid: {name}")


@asynccontextmanager
async def _place(feed: Feed, job_id: int) -> AsyncIterator[None]:
    feed.take_place(job_id)
    try:
        yield
    finally:
        feed.leave_place(job_id)


class Line:
    """One client's connection: what is sent counts, and silence is broken where the client wants that."""

    def __init__(self, socket: WebSocket, job_id: int, beat_s: float) -> None:
        self.socket, self.job_id, self.beat_s = socket, job_id, beat_s
        self.seq, self.beat_at = 0, time.monotonic() + beat_s

    async def send(self, message: Message) -> None:
        """Send a frame. Raises TimeoutError when the client does not take it."""
        await self._put(message.text)
        self.seq = message.seq

    async def beat(self) -> None:
        """Send a sign of life, when it is time to."""
        if time.monotonic() >= self.beat_at:
            await self._put(sign_of_life(self.job_id, self.seq))

    async def _put(self, text: str) -> None:
        async with asyncio.timeout(SEND_S):
            await self.socket.send_text(text)
        self.beat_at = time.monotonic() + self.beat_s


async def _serve(line: Line, after: int | None, state: State) -> tuple[int, str]:
    messages = await run_sync(opening, line.job_id, after)
    for message in messages:
        await line.send(message)
    if messages[-1].closes:
        return DONE, ""
    follower = state.feed.follow(line.job_id, messages[-1].seq)
    try:
        return await _relay(line, follower, state.settings.socket_idle_s)
    except Unauthenticated as error:
        return REFUSED, error.error_code
    finally:
        state.feed.unfollow(follower)


async def _relay(line: Line, follower: Follower, idle_s: float) -> tuple[int, str]:
    """Pass messages on, and notice when the client speaks or leaves."""
    socket = line.socket
    heard = asyncio.create_task(socket.receive())
    queued = asyncio.create_task(follower.queue.get())
    idle_until, check_at = time.monotonic() + idle_s, time.monotonic() + CHECK_S
    try:
        while True:
            wait_s = max(0.0, min(idle_until, check_at, line.beat_at) - time.monotonic())
            done, _ = await asyncio.wait({heard, queued}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if time.monotonic() >= check_at:
                caller: Caller = socket.scope["state"]["caller"]
                await run_sync(check_still_valid, caller.token)
                check_at = time.monotonic() + CHECK_S
            if done:
                idle_until = time.monotonic() + idle_s
            elif time.monotonic() >= idle_until:
                return DONE, "Idle"
            if heard in done:
                if heard.result()["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect
                heard = asyncio.create_task(socket.receive())
            if queued in done:
                message = queued.result()
                if message is None:
                    return REFUSED, "The job is gone"
                await line.send(message)
                if message.closes:
                    return DONE, ""
                queued = asyncio.create_task(follower.queue.get())
            await line.beat()
    finally:
        heard.cancel()
        queued.cancel()


def opening(job_id: int, after: int | None) -> list[Message]:
    """What a client gets at once: the present state, with ``after`` the events it missed, and the end if it is over.

    Raises NotFound.
    """
    with reading() as session:
        job = service.get(session, job_id)
        start = job.last_seq if after is None else min(after, job.last_seq)
        messages = [present_state(job, start, jobs.newest_progress(session, job_id))]
        messages += [message_of(event) for event in jobs.events_after(session, job_id, start, MOST_MISSED)]
        if job.status in jobs.FINAL and not messages[-1].closes and messages[-1].seq == job.last_seq:
            messages += [message_of(event) for event in jobs.events_after(session, job_id, job.last_seq - 1)]
        return messages
