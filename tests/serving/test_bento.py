"""The Bento: what ``bentoml build`` makes holds all the code that the service needs, and serves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

CHECKOUT = Path(__file__).resolve().parents[2]
LIST_MODULES = """
import json, sys
import serving.service
ours = ("batteries", "models", "serving", "store", "flows", "api", "launch")
print(json.dumps({name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ours}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory, silent):
    home = tmp_path_factory.mktemp("home")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATTERY_")}
    inherited.pop("PYTHONPATH", None)
    return {**inherited, **silent, "BATTERY_HOME": str(home), "BENTOML_HOME": str(tmp_path_factory.mktemp("bentos"))}


@pytest.fixture(scope="module")
def bento(environment) -> Path:
    """Folder of a built Bento."""
    build = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(CHECKOUT)]
    done = subprocess.run(
        build, check=False, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, version = done.stdout.strip().splitlines()[-1].removeprefix("__tag__:").split(":")
    return Path(environment["BENTOML_HOME"], "bentos", name, version)


class TestBento:
    def test_holds_every_module_that_the_service_imports(self, bento, environment):
        loaded = subprocess.run(
            [sys.executable, "-c", LIST_MODULES],
            check=False,
            cwd=bento / "src",
            env=environment,
            capture_output=True,
            timeout=120,
        )
        assert loaded.returncode == 0, loaded.stderr.decode()
        files = json.loads(loaded.stdout)
        assert "serving.service" in files
        outside = {name: file for name, file in files.items() if not Path(file).is_relative_to(bento / "src")}
        assert not outside

    def test_names_the_packages_of_the_lock(self, bento):
        locked = (CHECKOUT / "requirements.lock").read_text().splitlines()
        pinned = [line for line in (bento / "env/python/requirements.txt").read_text().splitlines() if "==" in line]
        assert pinned
        assert set(pinned) <= {line.split(" ")[0] for line in locked}

    def test_serves(self, bento, environment, free_ports, servers, eventually, mlflow_server, tmp_path):
        [port] = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        command = ["bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]

        def ready() -> bool:
            try:
                return requests.get(f"{url}/readyz", timeout=2).ok
            except requests.RequestException:
                return False

        with servers(command, tmp_path / "log", {**environment, "BATTERY_MLFLOW_URL": mlflow_server}):
            eventually(ready, 60, "the Bento ready")
            answer = requests.post(f"{url}/champion", json={"algorithm": "deephpm"}, timeout=30)
            assert answer.status_code == 200
            assert "version" in answer.json()
