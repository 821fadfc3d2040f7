import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from store import jobs, models
from store.session import reading, transaction
from store.tables import Job, Model

pytestmark = pytest.mark.usefixtures("database")


def new_job() -> int:
    with transaction() as session:
        return jobs.create(session, algorithm="baseline", battery_ids=[1], hyperparams={}, total_epochs=1).id


def register(job_id: int, barrier: threading.Barrier | None = None) -> str:
    if barrier is not None:
        barrier.wait()
    with transaction() as session:
        return models.register(
            session,
            session.get_one(Job, job_id),
            mlflow_version=str(job_id),
            mlflow_run_id="run",
            artifact_path="model.pth",
            metrics={},
            sha256="0" * 64,
            file_size=1,
            data_version=None,
        ).version


class TestRegister:
    def test_jobs_that_end_together_get_different_numbers(self):
        together = threading.Barrier(8)
        threads = [threading.Thread(target=register, args=(new_job(), together)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with reading() as session:
            assert sorted(session.scalars(select(Model.version))) == [f"1.0.{number}" for number in range(8)]

    def test_the_database_refuses_a_number_that_is_taken(self):
        register(new_job())
        second = new_job()
        register(second)
        with pytest.raises(IntegrityError), transaction() as session:
            session.scalars(select(Model).where(Model.job_id == second)).one().version = "1.0.0"
