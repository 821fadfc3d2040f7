"""Flow ``forget-jobs``: the end of old training jobs, ``BATTERY_JOB_HISTORY_DAYS`` after they were over."""

from prefect import flow


@flow(name="forget-jobs")
def forget_jobs() -> list[int]:
    """Delete them with their events; their ids. Models, batteries and predictions stay."""
    from store.forgetting import forget_old_jobs

    return forget_old_jobs()
