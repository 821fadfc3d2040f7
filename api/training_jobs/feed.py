"""Job events on their way to sockets: one poller a process over ``job_events``, however many clients listen."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from api.responses import iso
from store import jobs
from store.session import reading
from store.tables import Job, JobEvent, utc_now

log = logging.getLogger(__name__)
POLL_S = 0.15
EVENTS_A_POLL = 500
WAITING_MESSAGES = 1000  # a client that lags further behind is dropped
CLOSING = frozenset({"complete", "error"})


class TooManyFollowers(Exception):
    """The job has as many clients as it may have."""


@dataclass(frozen=True)
class Message:
    """One frame, and whether it is the last."""

    seq: int
    text: str
    closes: bool


@dataclass(eq=False)
class Follower:
    """One client of one job. ``None`` in the queue: dropped, because it reads too slowly or the job is gone."""

    job_id: int
    position: int = 0  # newest event that was queued
    queue: "asyncio.Queue[Message | None]" = field(default_factory=lambda: asyncio.Queue(WAITING_MESSAGES + 1))

    def push(self, messages: Iterable[Message]) -> bool:
        """Queue what is new; False when the client has fallen too far behind."""
        for message in messages:
            if message.seq > self.position:
                if self.queue.qsize() >= WAITING_MESSAGES:
                    return False
                self.queue.put_nowait(message)
                self.position = message.seq
        return True


class Feed:
    """Followers by job, and the poller that serves them all."""

    def __init__(self, followers_per_job: int) -> None:
        self._most = followers_per_job
        self._places: defaultdict[int, int] = defaultdict(int)
        self._followers: defaultdict[int, set[Follower]] = defaultdict(set)
        self._somebody = asyncio.Event()

    def take_place(self, job_id: int) -> None:
        """Count a client in. Raises TooManyFollowers."""
        if self._places[job_id] >= self._most:
            raise TooManyFollowers
        self._places[job_id] += 1

    def leave_place(self, job_id: int) -> None:
        """Count a client out."""
        self._places[job_id] -= 1
        if not self._places[job_id]:
            del self._places[job_id]

    def follow(self, job_id: int, position: int) -> Follower:
        """Deliver every event after ``position`` from now on."""
        follower = Follower(job_id, position)
        self._followers[job_id].add(follower)
        self._somebody.set()
        return follower

    def unfollow(self, follower: Follower) -> None:
        """Deliver nothing more."""
        self._followers[follower.job_id].discard(follower)
        if not self._followers[follower.job_id]:
            del self._followers[follower.job_id]
        if not self._followers:
            self._somebody.clear()

    async def run(self) -> None:
        """Poll while somebody listens, until cancelled."""
        while True:
            await self._somebody.wait()
            positions = {
                job_id: min(follower.position for follower in followers)
                for job_id, followers in self._followers.items()
            }
            try:
                found = await run_sync(new_messages, positions)
            except SQLAlchemyError:
                log.exception("Events cannot be read; sockets wait")
            else:
                self._deliver(found)
            await asyncio.sleep(POLL_S)

    def _deliver(self, found: dict[int, list[Message] | None]) -> None:
        for job_id, messages in found.items():
            for follower in list(self._followers.get(job_id, ())):
                if messages is None or not follower.push(messages):
                    follower.queue.put_nowait(None)
                    self.unfollow(follower)


def new_messages(positions: dict[int, int]) -> dict[int, list[Message] | None]:
    """Per job the next events after its position; None where the job is gone. Jobs without news are left out."""
    with reading() as session:
        newest = jobs.latest_seqs(session, positions)
        found: dict[int, list[Message] | None] = {job_id: None for job_id in positions if job_id not in newest}
        for job_id, seq in newest.items():
            if seq > positions[job_id]:
                events = jobs.events_after(session, job_id, positions[job_id], EVENTS_A_POLL)
                found[job_id] = [message_of(event) for event in events]
        return found


def message_of(event: JobEvent) -> Message:
    """An event as the frame that says it."""
    head = {"type": event.type, "job_id": event.job_id, "timestamp": iso(event.created_at)}
    return Message(event.seq, encoded({**head, **event.payload, "seq": event.seq}), event.type in CLOSING)


def present_state(job: Job, seq: int) -> Message:
    """Where the job stands, as a progress frame; ``seq`` is where the stream goes on from."""
    frame = {
        "type": "progress",
        "job_id": job.id,
        "timestamp": iso(utc_now()),
        "status": job.status,
        "progress": job.progress,
        "current_epoch": job.current_epoch,
        "total_epochs": job.total_epochs,
        "current_loss": job.current_loss,
        "seq": seq,
    }
    return Message(seq, encoded(frame), closes=False)


def encoded(frame: dict[str, Any]) -> str:
    """JSON text; NaN as null."""
    return orjson.dumps(frame).decode()
