"""The end of old training jobs: ``BATTERY_JOB_HISTORY_DAYS`` after they were over."""

import shutil
from datetime import timedelta

from store import files, jobs
from store.session import transaction
from store.settings import get_settings
from store.tables import utc_now

BATCH = 20  # jobs a transaction: with thousands of events each, other writers wait for little


def forget_old_jobs() -> list[int]:
    """Delete jobs whose time is over, with their events and what they left in ``var/jobs``; their ids.

    Their models stay. Safe at any time and in several processes at once; meant to be called now and then.
    """
    settings = get_settings()
    moment = utc_now() - timedelta(days=settings.job_history_days)
    forgotten: list[int] = []
    while True:
        with transaction() as session:
            batch = jobs.forget_before(session, moment, BATCH)
        for job_id in batch:
            shutil.rmtree(files.job_folder(settings.var, job_id), ignore_errors=True)
        forgotten += batch
        if len(batch) < BATCH:
            return sorted(forgotten)
