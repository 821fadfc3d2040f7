from datetime import timedelta

import pytest
from sqlalchemy import select

from store import forgetting, jobs, models
from store.forgetting import forget_old_jobs
from store.session import reading, transaction
from store.tables import Job, JobEvent, Model, utc_now

pytestmark = pytest.mark.usefixtures("database")


def over(days_ago: float) -> int:
    """A job with a model that was over so long ago."""
    with transaction() as session:
        job = jobs.create(session, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=1)
        model = models.register(
            session,
            job,
            mlflow_version=str(job.id),
            mlflow_run_id="run",
            artifact_path="model.pth",
            metrics={},
            sha256="0" * 64,
            file_size=1,
            data_version=None,
        )
        jobs.append_event(session, job.id, "complete", {"model_id": model.id, "final_metrics": {}})
        job.finished_at = utc_now() - timedelta(days=days_ago)
    return job.id


class TestForgetOldJobs:
    def test_takes_events_and_folders_of_jobs_past_their_days_and_keeps_models(self, database):
        old, young = over(days_ago=30.1), over(days_ago=29.9)
        with transaction() as session:
            live = jobs.create(session, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=1).id
        folders = {job_id: database.var / "jobs" / str(job_id) for job_id in (old, young, live)}
        for folder in folders.values():
            folder.mkdir(parents=True)
            (folder / "last.ckpt").touch()
        assert forget_old_jobs() == [old]
        assert [job_id for job_id, folder in folders.items() if folder.exists()] == [young, live]
        with reading() as session:
            assert list(session.scalars(select(Job.id).order_by(Job.id))) == [young, live]
            assert list(session.scalars(select(JobEvent.job_id))) == [young]
            assert list(session.scalars(select(Model.job_id).order_by(Model.id))) == [None, young]

    def test_takes_all_of_them_however_many(self, monkeypatch):
        monkeypatch.setattr(forgetting, "BATCH", 2)
        old = [over(days_ago=31) for _ in range(4)]
        assert forget_old_jobs() == old
        assert forget_old_jobs() == []
