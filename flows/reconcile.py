"""Flow ``reconcile``: training jobs whose process ended without a word go on, or fail with a reason."""

from prefect import flow


@flow(name="reconcile")
def reconcile() -> list[int]:
    """Put right what the jobs' rows and Prefect disagree on; the ids of the jobs concerned."""
    from flows import reconciling

    return reconciling.run()
