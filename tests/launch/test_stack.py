"""What the running stack does for its operator."""

import os
import signal

import pytest
import requests

PARTS = ("prefect", "mlflow", "serving", "api", "worker")


def pid_of(stack, title: str) -> int | None:
    """Process id that `status` shows for a part that works."""
    (line,) = [line for line in stack.run("status").stdout.splitlines() if line.startswith(title)]
    pid = line.split()[2]
    return int(pid) if pid.isdecimal() else None


class TestRespawn:
    @pytest.mark.parametrize(("title", "path"), [("API", "/api/v1/health"), ("BentoML", None)])
    def test_a_killed_part_works_again(self, stack, eventually, title, path):
        before = pid_of(stack, title)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        url = f"{stack.root}{path}" if path else f"{stack.serving}/readyz"

        def works() -> bool:
            try:
                return requests.get(url, timeout=2).ok
            except requests.RequestException:
                return False

        # BentoML's own children answer for a moment after their parent is gone.
        eventually(lambda: pid_of(stack, title) not in {None, before}, 90, f"{title} was started again")
        eventually(lambda: stack.run("status").returncode == 0 and works(), 90, f"{title} works again")
        eventually(lambda: f"{title} ended" in stack.output.read_text(), 10, "`up` told of it")


class TestLog:
    def test_every_part_writes_to_it(self, stack):
        shown = stack.run("logs", "--lines", "100000").stdout
        for part in PARTS:
            assert f" {part:<8} | " in shown

    def test_one_part_can_be_looked_at(self, stack):
        shown = stack.run("logs", "worker", "-n", "5").stdout.splitlines()
        assert 0 < len(shown) <= 5
        assert all(" worker   | " in line for line in shown)


class TestPrefect:
    def test_queues_have_the_limits_of_the_settings(self, stack):
        queues = requests.post(f"{stack.prefect}/work_pools/battery/queues/filter", json={}, timeout=10).json()
        limits = {queue["name"]: queue["concurrency_limit"] for queue in queues}
        assert limits["training"] == 3
        assert limits["data"] == 1

    def test_every_deployment_of_prefect_yaml_is_there(self, stack):
        found = requests.post(f"{stack.prefect}/deployments/filter", json={}, timeout=10).json()
        assert {"version-data", "train", "retrain", "remove-model"} <= {deployment["name"] for deployment in found}
