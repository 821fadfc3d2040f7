"""A whole job while nothing answers where MLflow should be, until it does."""

import socket
import threading

import pytest
from mlflow.exceptions import MlflowException

from flows import claiming, patience, reconciling, training
from models.registry import Registry
from store import jobs
from store.session import transaction
from store.settings import get_settings


class Forwarder:
    """MLflow at another port, once it is started."""

    def __init__(self, port: int, server: str) -> None:
        self.port = port
        self.target = ("127.0.0.1", int(server.rpartition(":")[2]))
        self.listener: socket.socket | None = None

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self) -> None:
        if self.listener is not None:
            self.listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def mlflow(home, mlflow_server, free_ports, monkeypatch):
    """MLflow, which is away until it is started."""
    (port,) = free_ports(1)
    monkeypatch.setenv("BATTERY_MLFLOW_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(patience, "PAUSE_S", 0.05)
    get_settings.cache_clear()
    forwarder = Forwarder(port, mlflow_server)
    yield forwarder
    forwarder.stop()


@pytest.fixture
def said(events):
    """Lines of a job's log."""
    return lambda job_id: [event.payload["message"] for event in events(job_id) if event.type == "log"]


AWAY = "MLflow cannot be reached; the job goes on when it is back"


class TestMlflowAway:
    def test_the_model_is_registered_when_it_is_back(
        self, mlflow, mlflow_server, battery, submit, job, said, eventually
    ):
        job_id = submit([battery(seed=1), battery(seed=2)])

        def come_back() -> None:
            eventually(lambda: AWAY in said(job_id), 60, "the job waiting", every=0.05)
            mlflow.start()

        operator = threading.Thread(target=come_back)
        operator.start()
        assert training.run(job_id) == "succeeded"
        operator.join()
        lines = said(job_id)
        assert lines.index(AWAY) < lines.index("MLflow is back")
        registry = Registry(mlflow_server, get_settings().var / "reading")
        history = registry.client.get_metric_history(job(job_id).mlflow_run_id, "train_loss")
        assert [metric.step for metric in history] == [1, 2]

    def test_a_stop_ends_the_waiting_and_the_rest_is_done_later(self, mlflow, battery, submit, job, said, eventually):
        job_id = submit([battery(seed=1), battery(seed=2)])

        def stop() -> None:
            eventually(lambda: AWAY in said(job_id), 60, "the job waiting", every=0.05)
            with transaction() as rows:
                jobs.request_stop(rows, job_id)

        user = threading.Thread(target=stop)
        user.start()
        with pytest.raises(MlflowException):
            training.run(job_id)
        user.join()
        assert (job(job_id).status, job(job_id).model_id) == ("stopped", None)
        assert reconciling.leftovers() == [job_id]
        mlflow.start()
        reconciling.clear_leftovers()
        assert not claiming.folder(job_id).exists()
