"""The service as it runs: a BentoML server process, asked over HTTP, on a real registry."""

import base64
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
import requests

from batteries.features import FEATURE_VERSION
from models.champions import STALE_S


@pytest.fixture(scope="module")
def service(tmp_path_factory, free_ports, eventually, servers, mlflow_server):
    """Ask the running service."""
    [port] = free_ports(1)
    home = tmp_path_factory.mktemp("home")
    (home / "var").mkdir()
    settings = {"BATTERY_HOME": str(home), "BATTERY_MLFLOW_URL": mlflow_server, "BENTOML_HOME": str(home / "bentoml")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATTERY_")}
    command = ["bentoml", "serve", "serving.service:PredictionService", "--host", "127.0.0.1", "--port", str(port)]
    url, session = f"http://127.0.0.1:{port}", requests.Session()

    def ready() -> bool:
        try:
            return session.get(f"{url}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def ask(*items: Any) -> list[dict[str, Any]]:
        answer = requests.post(f"{url}/predict", json={"items": items}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with servers(command, home / "log", {**inherited, **settings}):
        eventually(ready, 60, "the service ready")
        ask.url = url
        ask.post = lambda path, **body: session.post(url + path, json=body, timeout=30).json()
        yield ask


@pytest.fixture
def item(history):
    """The cell's latest cycles as the API asks about them."""

    def make(algorithm: str, version: str | None = None, cycles: int = 20) -> dict[str, Any]:
        x = [[None if np.isnan(value) else float(value) for value in row] for row in history.features[-cycles:]]
        index = [float(value) for value in history.cycle_index[-cycles:]]
        return {"algorithm": algorithm, "model_version": version, "x": x, "cycle_index": index, "chemistry": "LFP"}

    return make


def expected(fitted, history, cycles: int = 20):
    """What the trained network itself says."""
    [answer] = fitted.bundle.predict([history.features[-cycles:]], [history.cycle_index[-cycles:]], ["LFP"])
    return answer


class TestPredict:
    def test_answers_as_the_trained_network_does_in_the_order_asked(self, service, train, register, item, history):
        first, second = train("baseline"), train("baseline", seed=1, learning_rate=0.5)
        versions = [register(fitted).version for fitted in (first, second)]
        assert expected(first, history).soh != expected(second, history).soh
        asked = [item("baseline", versions[number], cycles) for number, cycles in ((1, 20), (0, 20), (1, 1))]
        answered = service(*asked)
        assert [answer["model_version"] for answer in answered] == [versions[1], versions[0], versions[1]]
        for answer, (fitted, cycles) in zip(answered, ((second, 20), (first, 20), (second, 1)), strict=True):
            own = expected(fitted, history, cycles)
            assert answer["soh"] == pytest.approx(own.soh, abs=1e-5)
            assert answer["rul"] == pytest.approx(own.rul, rel=1e-5)
            assert answer["confidence"] == pytest.approx(own.confidence, abs=1e-5)
            assert answer["soh_interval"] == pytest.approx(own.soh_interval, abs=1e-5)
            assert answer["end_of_life"] == 0.8
            assert set(answer) >= {"soh_interval", "rul_interval", "calibration", "warnings"}

    def test_reads_packed_features_as_lists(self, service, train, register, item, history):
        version = register(train("baseline")).version
        lists = item("baseline", version)
        packed = base64.b64encode(history.features[-20:].astype("<f4").tobytes()).decode()
        first, second = service(lists, lists | {"x": packed})
        assert first == second
        for wrong in ("?", packed[:-8], ""):
            [answer] = service(lists | {"x": wrong})
            assert answer["error"]["code"] == "INVALID"

    def test_a_wrong_item_spoils_no_other(self, service, train, register, item):
        version = register(train("baseline")).version
        good = item("baseline", version)
        ragged = {**good, "x": [[1.0], [1.0, 2.0]]}
        foreign = {**good, "x": [[1.0]] * 20}
        unknown = {**good, "x": [[None] * len(good["x"][0])] * 20}
        wrong = (3, {**good, "algorithm": "oracle"}, ragged, foreign, {**good, "cycle_index": [1]}, unknown)
        answers = service(good, *wrong, good)
        codes = [answer.get("error", {}).get("code") for answer in answers]
        assert codes == [None, *["INVALID"] * len(wrong), None]
        assert answers[0] == answers[-1]

    def test_explains_where_it_is_asked_to(self, service, train, register, item):
        version = register(train("baseline")).version
        plain, explained = service(item("baseline", version), item("baseline", version) | {"explain": True})
        assert "explanation" not in plain
        assert {"feature", "value", "typical", "soh", "rul"} == set(explained["explanation"][0])
        assert explained["soh"] == pytest.approx(plain["soh"], abs=1e-5)

    def test_there_is_no_such_version(self, service, item):
        [answer] = service(item("baseline", "999"))
        assert answer["error"]["code"] == "NOT_FOUND"

    def test_a_model_of_other_features_says_to_train_again(self, service, train, register, item):
        version = register(train("baseline", feature_version=FEATURE_VERSION + 1)).version
        [answer] = service(item("baseline", version))
        assert answer["error"]["code"] == "INVALID"
        assert "train it again" in answer["error"]["message"]


class TestChampion:
    def test_serves_when_no_version_is_named_and_a_new_one_takes_over_without_a_restart(
        self, service, train, register, registry, item, eventually
    ):
        [answer] = service(item("deephpm"))
        assert answer["error"]["code"] == "NOT_FOUND"
        assert service.post("/champion", algorithm="deephpm") == {"version": None}

        old, new = (register(train("deephpm", seed=seed)).version for seed in (0, 1))
        registry.set_alias("deephpm", "champion", old)
        assert service(item("deephpm"))[0]["model_version"] == old

        registry.set_alias("deephpm", "champion", new)
        began, seen = time.monotonic(), set()

        def taken_over() -> bool:
            [answer] = service(item("deephpm"))
            seen.add(answer["model_version"])
            return answer["model_version"] == new

        eventually(taken_over, 10, "the new champion serving", every=0.05)
        assert time.monotonic() - began < STALE_S + 1
        assert seen <= {old, new}
        assert service.post("/champion", algorithm="deephpm") == {"version": new}
        assert service.post("/uses", algorithm="deephpm", version=new) is False

    def test_that_changes_under_load_neither_drops_nor_mixes_answers(
        self, service, train, register, registry, item, eventually
    ):
        versions = [register(train("bilstm", seed=seed)).version for seed in (0, 1)]
        registry.set_alias("bilstm", "champion", versions[0])
        asked, answers, over = [item("bilstm"), item("bilstm", cycles=3)], [], threading.Event()

        def client() -> None:
            while not over.is_set():
                answers.append([answer.get("model_version", answer) for answer in service(*asked)])

        clients = [threading.Thread(target=client) for _ in range(3)]
        try:
            for thread in clients:
                thread.start()
            for version in [*versions[::-1], *versions[::-1]]:
                registry.set_alias("bilstm", "champion", version)
                eventually(lambda: answers[-1:] == [[version, version]], 10, "the new champion", every=0.05)  # noqa: B023
        finally:
            over.set()
            for thread in clients:
                thread.join()
        assert {tuple(answer) for answer in answers} == {(version, version) for version in versions}


class TestHealth:
    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
    def test_is_told(self, service, path):
        assert requests.get(service.url + path, timeout=5).status_code == 200

    def test_metrics_count_predictions_and_models(self, service, train, register, item):
        service(item("baseline", register(train("baseline")).version), {"algorithm": "oracle"})
        told = requests.get(service.url + "/metrics", timeout=5).text
        counted = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in told.splitlines() if line[0] != "#"
        }
        assert counted['battery_predictions_total{outcome="answered"}'] >= 1
        assert counted['battery_predictions_total{outcome="refused"}'] >= 1
        loaded = [value for name, value in counted.items() if name.startswith("battery_models_bytes")]
        assert sum(loaded) > 100_000
