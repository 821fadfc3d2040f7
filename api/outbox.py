"""What Prefect still has to be told. Rows say what is outstanding: nothing is lost when Prefect or the API is away.

Woken at once by whoever leaves work, and again after a while for what could not be delivered.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from anyio.to_thread import run_sync
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from api.errors import ServiceUnavailable
from api.prefect import Prefect, PrefectRefused
from store import data_versions, jobs
from store.deployments import REMOVE_MODEL, TRAIN, VERSION_DATA, run_name
from store.session import reading, transaction
from store.tables import Battery, Job, Model, utc_now

log = logging.getLogger(__name__)
RETRY_S = 5.0
VERSIONING_RETRY_S = 60.0  # a versioning run that failed is asked for again after this
REMOVAL_RETRY_S = 3600.0  # a removal that failed may be asked for again after this
REMOVALS_REMEMBERED = timedelta(days=1)


class Outbox:
    """Delivers queued jobs, stops, the wish for a new data version, and removals of models."""

    def __init__(self, prefect: Prefect) -> None:
        self._prefect = prefect
        self._work = asyncio.Event()
        self._cancellations: set[str] = set()
        self._removals: set[int] = set()
        self._version_run: str | None = None  # the versioning run that was asked for last
        self._away = False
        self._refused: set[str] = set()

    def nudge(self) -> None:
        """There is something new among the rows."""
        self._work.set()

    def cancel(self, flow_run_id: str) -> None:
        """Cancel a run of a job that its row already calls stopped."""
        self._cancellations.add(flow_run_id)
        self._work.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            self._removals = await run_sync(recent_removals)
        except SQLAlchemyError:
            log.exception("The database cannot be read; models deleted before this start are not asked for again")
        while True:
            self._work.clear()
            await self._deliver()
            try:
                async with asyncio.timeout(RETRY_S):
                    await self._work.wait()
            except TimeoutError:
                pass  # time to look again

    def remove(self, model_id: int) -> None:
        """Take a model that its row already calls deleted out of the registry."""
        self._removals.add(model_id)
        self._work.set()

    async def _deliver(self) -> None:
        """One kind after the other; what Prefect refuses of one does not hold up the others."""
        try:
            for deliver in (self._jobs, self._stops, self._versioning, self._models):
                with self._refusals():
                    await deliver()
        except ServiceUnavailable as error:
            if not self._away:
                log.warning("%s; trying again every %.0f s", error.message, RETRY_S)
            self._away = True
        except SQLAlchemyError:
            log.exception("The outbox cannot be read; trying again")
        else:
            if self._away:
                log.info("Prefect is back")
            self._away = False

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except PrefectRefused as error:
            if error.message not in self._refused:  # said once, not every few seconds
                self._refused.add(error.message)
                log.warning("%s; trying again every %.0f s", error.message, RETRY_S)

    async def _jobs(self) -> None:
        for job in await run_sync(unsubmitted_jobs):
            with self._refusals():
                key = f"train-{job.id}-{job.created_at.isoformat()}"
                run_id = await self._prefect.start(TRAIN, {"job_id": job.id}, key=key, name=run_name(job.id))
                if not await run_sync(submitted, job.id, run_id):
                    self._cancellations.add(run_id)  # stopped meanwhile

    async def _stops(self) -> None:
        for run_id in list(self._cancellations):
            self._cancellations.discard(run_id)
            try:
                with self._refusals():
                    await self._prefect.cancel(run_id)
            except ServiceUnavailable:
                self._cancellations.add(run_id)
                raise

    async def _versioning(self) -> None:
        state = await run_sync(unversioned_state)
        if state is None or (self._version_run and await self._prefect.is_waiting(self._version_run)):
            return  # a run that has not begun will find this as well: many uploads need no run each
        key = f"version-data-{state}-{time.time() // VERSIONING_RETRY_S:.0f}"
        self._version_run = await self._prefect.start(VERSION_DATA, {}, key=key)

    async def _models(self) -> None:
        attempt = f"{time.time() // REMOVAL_RETRY_S:.0f}"
        for model_id in list(self._removals):
            await self._prefect.start(REMOVE_MODEL, {"model_id": model_id}, key=f"remove-model-{model_id}-{attempt}")
            self._removals.discard(model_id)


def unsubmitted_jobs() -> list[Job]:
    """Jobs that Prefect does not have, oldest first."""
    with reading() as session:
        return jobs.unsubmitted(session)


def submitted(job_id: int, flow_run_id: str) -> bool:
    """Note the run of a job; False when the job is over meanwhile."""
    with transaction() as session:
        jobs.set_flow_run(session, job_id, flow_run_id)
        return jobs.is_live(session, job_id)


def unversioned_state() -> str | None:
    """A name for what is not versioned yet; None when everything is."""
    with reading() as session:
        if not data_versions.is_behind(session):
            return None
        newest = session.scalar(select(Battery.updated_at).order_by(Battery.updated_at.desc()).limit(1))
        ids = session.scalars(select(Battery.id).where(Battery.data_version_id.is_(None))).all()
        count = session.scalar(select(func.count()).select_from(Battery))
        version = data_versions.newest(session)  # a deletion is told from an earlier one by what it is behind
        return f"{newest and newest.isoformat()}-{count}-{len(ids)}-{max(ids, default=0)}-{version and version.id}"


def recent_removals() -> set[int]:
    """Models that were deleted lately: Prefect may have been away. Asking twice does no harm."""
    with reading() as session:
        query = select(Model.id).where(Model.deleted_at > utc_now() - REMOVALS_REMEMBERED)
        return set(session.scalars(query))
