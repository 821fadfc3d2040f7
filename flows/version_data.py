"""Flow ``version-data``: everything new in ``data/`` becomes one DVC version."""

from prefect import flow


@flow(name="version-data", retries=2, retry_delay_seconds=5)
def version_data() -> str | None:
    """Version the data set; the DVC hash of the state it is in, None where there never was a battery."""
    from store import versions

    version = versions.version_everything()
    return None if version is None else version.dvc_hash
