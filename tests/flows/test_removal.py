import pytest
import requests

from flows import removal, training
from models.registry import Registry
from store import models as model_rows
from store.session import reading, transaction
from store.tables import Model


@pytest.fixture
def model(battery, submit) -> Model:
    assert training.run(submit([battery()])) == "succeeded"
    with reading() as rows:
        [row] = rows.query(Model)
    return row


def status_of_weights(home, model: Model) -> int:
    address = f"{home.mlflow}/api/2.0/mlflow-artifacts/artifacts/{model.artifact_path}"
    return requests.get(address, timeout=10).status_code


class TestRun:
    def test_a_deleted_model_leaves_the_registry_with_its_weights(self, home, model):
        assert status_of_weights(home, model) == 200
        with transaction() as rows:
            model_rows.mark_deleted(rows.get_one(Model, model.id))
        assert removal.run(model.id)
        registry = Registry(home.mlflow, home.var / "reading")
        assert registry.client.search_model_versions(f"run_id = '{model.mlflow_run_id}'") == []
        assert status_of_weights(home, model) == 404

    @pytest.mark.parametrize("shared", [False, True])
    def test_the_copies_on_this_machine_go_unless_another_model_is_the_same(self, shared, home, model):
        copies = [home.var / folder / f"{model.sha256}.pth" for folder in removal.CACHES]
        for copy in copies:
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(b"weights")
        with transaction() as rows:
            row = rows.get_one(Model, model.id)
            if shared:
                known = {c.name: getattr(row, c.name) for c in Model.__table__.columns if c.name != "id"}
                rows.add(Model(**known | {"algorithm": "bilstm", "job_id": None}))
            model_rows.mark_deleted(row)
        assert removal.run(model.id)
        assert [copy.exists() for copy in copies] == [shared] * 2

    def test_twice_is_fine(self, model):
        with transaction() as rows:
            model_rows.mark_deleted(rows.get_one(Model, model.id))
        assert removal.run(model.id)
        assert removal.run(model.id)

    def test_a_model_that_is_not_deleted_stays(self, home, model):
        assert not removal.run(model.id)
        assert status_of_weights(home, model) == 200
