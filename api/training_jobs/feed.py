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
from sqlalchemy.orm import Session

from api.responses import iso
from store import jobs
from store.session import reading
from store.tables import Job, JobEvent, utc_now

log = logging.getLogger(__name__)
POLL_S = 0.15
EVENTS_A_POLL = 500  # for one client
WAITING_MESSAGES = 1000  # of one client; the rest waits in the database
CLOSING = frozenset({"complete", "error"})
OF_AN_EPOCH = ("best_val_loss", "epoch_seconds", "eta_seconds")


class TooManyFollowers(Exception):
    """The job has as many clients as it may have."""


@dataclass(frozen=True)
class Message:
    """One frame, and whether it is the last."""

    seq: int
    text: str
    closes: bool


Wanted = dict[int, set[int]]  # by job: after which events somebody waits for more
Found = dict[int, dict[int, list[Message]] | None]  # by job and that event; None: the job is gone


@dataclass(eq=False)
class Follower:
    """One client of one job. ``None`` in the queue: the job is gone."""

    job_id: int
    position: int = 0  # newest event that was queued
    queue: "asyncio.Queue[Message | None]" = field(default_factory=asyncio.Queue)

    @property
    def has_room(self) -> bool:
        """Whether more can be fetched for it: a client that reads slowly is not fed faster than it reads."""
        return self.queue.qsize() + EVENTS_A_POLL <= WAITING_MESSAGES

    def push(self, messages: Iterable[Message]) -> None:
        """Queue what is new."""
        for message in messages:
            if message.seq > self.position:
                self.queue.put_nowait(message)
                self.position = message.seq


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
            try:
                found = await run_sync(new_messages, self._wanted())
            except SQLAlchemyError:
                log.exception("Events cannot be read; sockets wait")
            else:
                self._deliver(found)
            await asyncio.sleep(POLL_S)

    def _wanted(self) -> Wanted:
        """Where clients stand: mostly all of a job at its newest event, one that catches up elsewhere."""
        return {
            job_id: {follower.position for follower in followers if follower.has_room}
            for job_id, followers in self._followers.items()
        }

    def _deliver(self, found: Found) -> None:
        for job_id, by_position in found.items():
            for follower in list(self._followers.get(job_id, ())):
                if by_position is None:
                    follower.queue.put_nowait(None)
                    self.unfollow(follower)
                else:
                    follower.push(by_position.get(follower.position, ()))


def new_messages(wanted: Wanted) -> Found:
    """Per job and position the next events; None where the job is gone. Jobs without news are left out."""
    with reading() as session:
        newest = jobs.latest_seqs(session, wanted)
        found: Found = {job_id: None for job_id in wanted if job_id not in newest}
        for job_id, seq in newest.items():
            behind = [position for position in wanted[job_id] if position < seq]
            if behind:
                found[job_id] = {position: messages_after(session, job_id, position) for position in behind}
        return found


def messages_after(session: Session, job_id: int, position: int) -> list[Message]:
    """The next events of a job as frames."""
    return [message_of(event) for event in jobs.events_after(session, job_id, position, EVENTS_A_POLL)]


def message_of(event: JobEvent) -> Message:
    """An event as the frame that says it."""
    head = {"type": event.type, "job_id": event.job_id, "timestamp": iso(event.created_at)}
    return Message(event.seq, encoded({**head, **event.payload, "seq": event.seq}), event.type in CLOSING)


def present_state(job: Job, seq: int, newest: JobEvent | None = None) -> Message:
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
        **{key: None if newest is None else newest.payload.get(key) for key in OF_AN_EPOCH},
        "seq": seq,
    }
    if job.status != "running":
        frame["eta_seconds"] = None
    return Message(seq, encoded(frame), closes=False)


def heartbeat(job_id: int, seq: int) -> str:
    """A frame that only says that the connection lives, for clients that asked for it."""
    return encoded({"type": "heartbeat", "job_id": job_id, "timestamp": iso(utc_now()), "seq": seq})


def encoded(frame: dict[str, Any]) -> str:
    """JSON text; NaN as null."""
    return orjson.dumps(frame).decode()
