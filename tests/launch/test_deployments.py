"""Calls to a busy Prefect: a server that answers 503 at first, as Prefect does while its database is locked."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from launch import deployments


@pytest.fixture
def busy():
    """A server that answers 503 twice, then 201; with the paths it was asked."""

    class Answers(BaseHTTPRequestHandler):
        asked: list[str] = []  # noqa: RUF012 - one class a test

        def do_POST(self):
            self.asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503 if len(self.asked) < 3 else 201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Answers.asked
    server.shutdown()
    thread.join()
    server.server_close()


class TestPutQueue:
    def test_a_busy_prefect_is_asked_again(self, busy):
        url, asked = busy
        with httpx.Client(base_url=url) as client:
            deployments.put_queue(client, "training", 3)
        assert asked == ["/work_pools/battery/queues"] * 3

    def test_one_that_stays_busy_is_an_error(self, busy, monkeypatch):
        monkeypatch.setattr(deployments, "BUSY_WITHIN_S", 0)
        url, _ = busy
        with httpx.Client(base_url=url) as client, pytest.raises(httpx.HTTPStatusError, match="503"):
            deployments.put_queue(client, "training", 3)


class TestFingerprint:
    def test_it_changes_with_the_deployments_the_flows_and_the_server(self, tmp_path):
        (tmp_path / "flows").mkdir()
        (tmp_path / "prefect.yaml").write_text("deployments: []")
        (tmp_path / "flows" / "train.py").write_text("def train(job_id: int): ...")
        seen = {deployments.fingerprint(tmp_path, "http://one/api")}
        seen.add(deployments.fingerprint(tmp_path, "http://one/api"))
        assert len(seen) == 1
        seen.add(deployments.fingerprint(tmp_path, "http://two/api"))
        (tmp_path / "flows" / "train.py").write_text("def train(job_id: str): ...")
        seen.add(deployments.fingerprint(tmp_path, "http://one/api"))
        (tmp_path / "prefect.yaml").write_text("deployments: [1]")
        seen.add(deployments.fingerprint(tmp_path, "http://one/api"))
        assert len(seen) == 4
