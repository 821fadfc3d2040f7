"""Following a job over a WebSocket that breaks."""

import json
import socket
import threading

import httpx
import pytest
from websockets.sync.server import serve

from launch.platform_client import CallFailed, PlatformClient, refusal

TOKEN = {"Authorization": "Bearer token"}


@pytest.fixture
def serving(free_ports):
    """A WebSocket server on one port, started and stopped as often as wanted: ``serving(messages)``."""
    (port,) = free_ports(1)
    servers = []

    def start(messages):
        def answer(connection):
            for message in messages:
                connection.send(json.dumps(message))
            connection.socket.shutdown(socket.SHUT_RDWR)  # without a close frame, as a killed server does

        server = serve(answer, "127.0.0.1", port, close_timeout=0.2)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return server

    start.port = port
    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()


class TestFollow:
    def test_a_server_that_is_away_for_seconds_loses_nobody(self, serving):
        first = serving([{"type": "progress", "current_epoch": 1}])
        client = PlatformClient(f"http://127.0.0.1:{serving.port}")
        client.http.headers.update(TOKEN)
        messages = client.follow(1)
        assert next(messages)["current_epoch"] == 1
        first.shutdown()
        back = threading.Timer(2.0, lambda: serving([{"type": "complete", "model_id": 7}]))
        back.start()
        rest = list(messages)
        back.join()
        assert rest[-1] == {"type": "complete", "model_id": 7}

    def test_a_connection_that_falls_silent_is_replaced(self, monkeypatch):
        monkeypatch.setattr("launch.platform_client.SILENCE_S", 0.2)
        asked = []

        def answer(connection):
            asked.append(connection.request.path.partition("?")[2])
            if len(asked) == 1:
                connection.send(json.dumps({"type": "log", "seq": 3}))
                connection.recv()  # until the client gives up
            else:
                connection.send(json.dumps({"type": "complete", "seq": 4}))

        with serve(answer, "127.0.0.1", 0, close_timeout=0.2) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            client = PlatformClient(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
            client.http.headers.update(TOKEN)
            assert [message["seq"] for message in client.follow(1)] == [3, 4]
            server.shutdown()
            thread.join()
        assert asked == ["heartbeat=15", "heartbeat=15&after=3"]

    def test_a_token_that_expires_meanwhile_is_replaced(self, monkeypatch):
        tokens = []

        def answer(connection):
            tokens.append(connection.request.headers["Authorization"])
            if len(tokens) == 1:
                connection.close(1008, "TOKEN_EXPIRED")
            else:
                connection.send(json.dumps({"type": "complete", "model_id": 7}))

        given = iter(("first", "second"))
        monkeypatch.setattr(PlatformClient, "call", lambda *_, **__: {"access_token": next(given)})
        with serve(answer, "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            client = PlatformClient(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
            client.sign_in("a@example.com", "long enough")
            assert [message["type"] for message in client.follow(1)] == ["complete"]
            server.shutdown()
            thread.join()
        assert tokens == ["Bearer first", "Bearer second"]

    def test_an_answer_that_is_no_http_is_named(self, serving):
        serving([])
        client = PlatformClient(f"http://127.0.0.1:{serving.port}")
        client.http.headers.update(TOKEN)
        with pytest.raises(CallFailed, match="POST /nowhere"):
            client.call("POST", "/nowhere")


class TestCall:
    def test_where_nothing_answers_says_how_to_start(self, free_ports):
        (port,) = free_ports(1)
        root = f"http://127.0.0.1:{port}"
        with pytest.raises(CallFailed, match=f"nothing answers at {root} .*`battery up`"):
            PlatformClient(root).call("GET", "/health")

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            ({"message": "Gone", "details": [{"field": "id", "issue": "Gone"}]}, "CODE: Gone"),
            ({"message": "Not valid: a", "details": [{"field": "a", "issue": "odd"}]}, "CODE: Not valid: a (a: odd)"),
            ({"message": "No"}, "CODE: No"),
        ],
    )
    def test_a_refusal_says_each_fact_once(self, error, said):
        assert refusal(httpx.Response(422, json={"error": {"code": "CODE"} | error})) == said
