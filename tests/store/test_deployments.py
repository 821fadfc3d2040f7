from pathlib import Path

import yaml

from store import deployments

DECLARED = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]


class TestNames:
    def test_are_those_of_prefect_yaml(self):
        declared = {f"{one['entrypoint'].rpartition('.')[2].replace('_', '-')}/{one['name']}" for one in DECLARED}
        shared = {deployments.TRAIN, deployments.VERSION_DATA, deployments.REMOVE_MODEL, deployments.RECONCILE}
        assert shared <= declared

    def test_all_run_in_the_one_pool(self):
        assert {one["work_pool"]["name"] for one in DECLARED} == {deployments.WORK_POOL}
