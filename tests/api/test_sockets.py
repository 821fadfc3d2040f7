"""Live progress over WebSocket: who may listen, and what they hear."""

import asyncio
import json
import threading
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from api.training_jobs import sockets
from api.training_jobs.feed import Feed, Message, TooManyFollowers, new_messages

BASE = "/api/v1/training-jobs"


def heard(socket: Any) -> tuple[list[dict[str, Any]], int]:
    """Every frame until the server closes, and its code."""
    frames = []
    while True:
        try:
            frames.append(socket.receive_json())
        except WebSocketDisconnect as closed:
            return frames, closed.code


def train(platform: Any, job_id: int, epochs: range, total: int = 4) -> None:
    for epoch in epochs:
        platform.event(job_id, "progress", current_epoch=epoch, progress=epoch / total, current_loss=1 / epoch)


@pytest.fixture
def job_id(platform: Any) -> int:
    return int(platform.add_job([1], epochs=4).id)


class TestWhoMayListen:
    @pytest.mark.parametrize("path", ["ws", "stream"])
    @pytest.mark.parametrize("way", ["header", "subprotocol", "query", "cookie"])
    def test_a_token_in_any_of_four_ways(self, anonymous: Any, path: str, way: str) -> None:
        job = anonymous.add_job([1])
        token = anonymous.token()
        cookie = f"battery_session={token}"
        anonymous.http.cookies.clear()
        url = f"{BASE}/{job.id}/{path}"
        options: dict[str, Any] = {}
        if way == "header":
            options = {"headers": {"Authorization": f"Bearer {token}"}}
        elif way == "subprotocol":
            options = {"subprotocols": ["Bearer", token]}
        elif way == "query":
            url += f"?token={token}"
        else:
            options = {"headers": {"Cookie": cookie, "Origin": "http://localhost:8000"}}
        with anonymous.http.websocket_connect(f"ws://localhost:8000{url}", **options) as socket:
            assert socket.receive_json()["type"] == "progress"
            assert socket.accepted_subprotocol == ("Bearer" if way == "subprotocol" else None)

    @pytest.mark.parametrize(
        "headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "https://localhost:8000"}, {"Origin": "null"}]
    )
    def test_not_a_cookie_from_another_origin(self, anonymous: Any, headers: dict[str, str]) -> None:
        job = anonymous.add_job([1])
        cookie = {"Cookie": f"battery_session={anonymous.token()}"}
        anonymous.http.cookies.clear()
        with anonymous.http.websocket_connect(
            f"ws://localhost:8000{BASE}/{job.id}/ws", headers=cookie | headers
        ) as socket:
            assert heard(socket) == ([], 1008)

    def test_a_cookie_from_an_allowed_origin(self, make: Any) -> None:
        platform = make(allowed_origins='["https://lab.example"]')
        job = platform.add_job([1])
        headers = {"Cookie": f"battery_session={platform.token()}", "Origin": "https://lab.example"}
        with platform.http.websocket_connect(f"ws://localhost:8000{BASE}/{job.id}/ws", headers=headers) as socket:
            assert socket.receive_json()["type"] == "progress"

    def test_the_cookie_opens_nothing_but_sockets(self, anonymous: Any) -> None:
        headers = {"Cookie": f"battery_session={anonymous.token()}", "Origin": "http://localhost:8000"}
        anonymous.http.cookies.clear()
        assert anonymous.http.get(BASE, headers=headers).status_code == 401

    def test_not_a_token_that_was_given_up(self, platform: Any, job_id: int) -> None:
        platform.http.post("/api/v1/auth/logout")
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            assert heard(socket) == ([], 1008)

    def test_unknown_jobs_are_closed_with_1008(self, platform: Any) -> None:
        with platform.http.websocket_connect(f"{BASE}/999/ws") as socket:
            assert heard(socket) == ([], 1008)

    @pytest.mark.parametrize(
        "address", ["abc/ws", "-1/ws", "9999999999999/ws", "1/ws?after=x", "1/ws?heartbeat=x", "1/wss", "../models"]
    )
    def test_addresses_that_make_no_sense_are_closed_with_1008(self, platform: Any, job_id: int, address: str) -> None:
        with platform.http.websocket_connect(f"{BASE}/{address}") as socket:
            assert heard(socket) == ([], 1008)

    def test_until_the_token_is_given_up(self, platform: Any, job_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.training_jobs.sockets.CHECK_S", 0.05)
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            assert socket.receive_json()["type"] == "progress"
            platform.http.post("/api/v1/auth/logout")
            assert heard(socket) == ([], 1008)


class TestWhatIsHeard:
    def test_present_state_then_every_event_in_order_then_the_end(self, platform: Any, job_id: int) -> None:
        train(platform, job_id, range(1, 3))
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            first = socket.receive_json()
            train(platform, job_id, range(3, 5))
            platform.event(job_id, "log", level="info", message="Registered")
            platform.event(job_id, "complete", model_id=8, final_metrics={"train_loss": 0.15, "val_loss": 0.24})
            frames, code = heard(socket)
        timestamp = first.pop("timestamp")
        assert timestamp.endswith("Z")
        assert first == {
            "type": "progress",
            "job_id": job_id,
            "status": "running",
            "progress": 0.5,
            "current_epoch": 2,
            "total_epochs": 4,
            "current_loss": 0.5,
            "best_val_loss": None,
            "epoch_seconds": None,
            "eta_seconds": None,
            "seq": 2,
        }
        assert [(frame["type"], frame["seq"]) for frame in frames] == [
            ("progress", 3),
            ("progress", 4),
            ("log", 5),
            ("complete", 6),
        ]
        assert frames[0].keys() >= {"status", "progress", "current_epoch", "total_epochs", "current_loss", "timestamp"}
        assert frames[2].keys() >= {"level", "message", "timestamp", "job_id"}
        assert (frames[3]["status"], frames[3]["model_id"]) == ("succeeded", 8)
        assert frames[3]["final_metrics"] == {"train_loss": 0.15, "val_loss": 0.24}
        assert code == 1000

    def test_the_present_state_says_how_long_it_will_take_while_it_runs(self, platform: Any, job_id: int) -> None:
        known = {"best_val_loss": 0.25, "epoch_seconds": 1.5, "eta_seconds": 3.0}
        platform.event(job_id, "progress", current_epoch=2, **known)
        platform.event(job_id, "log", level="info", message="Epoch 2/4")
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            first = socket.receive_json()
            assert {key: first[key] for key in known} == known
            platform.event(job_id, "error", error_message="stopped", status="stopped")
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            assert socket.receive_json()["eta_seconds"] is None

    def test_a_client_that_asks_for_it_hears_that_the_connection_lives(self, platform: Any, job_id: int) -> None:
        train(platform, job_id, range(1, 3))
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws?heartbeat=1") as socket:
            assert socket.receive_json()["seq"] == 2
            beat = socket.receive_json()
        assert beat.pop("timestamp").endswith("Z")
        assert beat == {"type": "heartbeat", "job_id": job_id, "seq": 2}

    def test_late_client_gets_the_state_and_the_closing_message(self, platform: Any, job_id: int) -> None:
        train(platform, job_id, range(1, 3))
        platform.event(job_id, "error", error_message="The data holds no usable window")
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            frames, code = heard(socket)
        assert [frame["type"] for frame in frames] == ["progress", "error"]
        assert frames[0]["status"] == frames[1]["status"] == "failed"
        assert frames[1]["error_message"] == "The data holds no usable window"
        assert code == 1000

    def test_stop_closes_with_an_error_frame(self, platform: Any, job_id: int) -> None:
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            assert socket.receive_json()["status"] == "queued"
            platform.http.post(f"{BASE}/{job_id}/stop")
            frames, code = heard(socket)
        assert [(frame["type"], frame["status"]) for frame in frames] == [("error", "stopped")]
        assert code == 1000

    @pytest.mark.parametrize("after", [0, 1, 3, 5])
    def test_after_goes_on_where_it_was_left(self, platform: Any, job_id: int, after: int) -> None:
        train(platform, job_id, range(1, 5))
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws?after={after}") as socket:
            state = socket.receive_json()
            platform.event(job_id, "complete", model_id=8, final_metrics={})
            frames, _ = heard(socket)
        assert state["seq"] == min(after, 4)
        assert [frame["seq"] for frame in frames] == list(range(min(after, 4) + 1, 6))

    def test_every_client_hears_every_event_once_while_they_are_written(self, platform: Any, job_id: int) -> None:
        writer = threading.Thread(target=train, args=(platform, job_id, range(1, 41), 40))
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as one:
            writer.start()
            with platform.http.websocket_connect(f"{BASE}/{job_id}/stream?after=0") as other:
                writer.join()
                platform.event(job_id, "complete", model_id=8, final_metrics={})
                sequences = [[frame["seq"] for frame in heard(socket)[0]] for socket in (one, other)]
        assert sequences == [[0, *range(1, 42)], [0, *range(1, 42)]]

    def test_nan_is_null(self, platform: Any, job_id: int) -> None:
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            socket.receive_json()
            platform.event(job_id, "progress", current_epoch=1, current_loss=float("nan"))
            assert json.loads(socket.receive_text())["current_loss"] is None


class TestLimits:
    def test_eleventh_client_is_closed_with_1008(self, make: Any) -> None:
        platform = make(max_sockets_per_job="1").sign_in()
        job = platform.add_job([1])
        with platform.http.websocket_connect(f"{BASE}/{job.id}/ws") as first:
            first.receive_json()
            with platform.http.websocket_connect(f"{BASE}/{job.id}/ws") as second:
                assert heard(second) == ([], 1008)
        with platform.http.websocket_connect(f"{BASE}/{job.id}/ws") as third:
            assert third.receive_json()["type"] == "progress"

    def test_silence_closes_with_1000(self, make: Any) -> None:
        platform = make(socket_idle_s="0.2").sign_in()
        job = platform.add_job([1])
        with platform.http.websocket_connect(f"{BASE}/{job.id}/ws") as socket:
            frames, code = heard(socket)
        assert ([frame["type"] for frame in frames], code) == (["progress"], 1000)

    def test_what_a_client_says_is_traffic_and_nothing_else(self, platform: Any, job_id: int) -> None:
        with platform.http.websocket_connect(f"{BASE}/{job_id}/ws") as socket:
            socket.receive_json()
            socket.send_text("hello")
            platform.event(job_id, "progress", current_epoch=1)
            assert socket.receive_json()["current_epoch"] == 1


class TestFeed:
    def test_one_that_catches_up_keeps_no_news_from_the_others(
        self, platform: Any, job_id: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.training_jobs.feed.EVENTS_A_POLL", 2)
        train(platform, job_id, range(1, 8))
        found = new_messages({job_id: {0, 6, 7}})[job_id]
        assert found is not None
        assert {position: [message.seq for message in messages] for position, messages in found.items()} == {
            0: [1, 2],
            6: [7],
        }

    def test_one_that_reads_slowly_is_not_fed_faster(self, anonymous: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.training_jobs.feed.EVENTS_A_POLL", 2)
        monkeypatch.setattr("api.training_jobs.feed.WAITING_MESSAGES", 5)

        async def deliver() -> list[Any]:
            feed = Feed(10)
            slow = feed.follow(1, 0)
            asked = []
            for seq in (1, 3, 5):
                asked.append(feed._wanted())
                found = [Message(number, "{}", closes=False) for number in (seq, seq + 1)]
                feed._deliver({1: {slow.position: found} if feed._wanted()[1] else {}})
            return [*asked, slow.queue.qsize()]

        assert anonymous.http.portal.call(deliver) == [{1: {0}}, {1: {2}}, {1: set()}, 4]

    def test_one_that_takes_nothing_is_dropped_and_the_others_hear_on(
        self, anonymous: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.training_jobs.sockets.SEND_S", 0.05)

        class Stuck:
            async def send_text(self, text: str) -> None:
                await asyncio.Event().wait()

            async def receive(self) -> None:
                await asyncio.Event().wait()

        async def relay() -> int:
            feed = Feed(10)
            slow, quick = feed.follow(1, 0), feed.follow(1, 0)
            feed._deliver({1: {0: [Message(1, "{}", closes=False)]}})
            stuck: Any = Stuck()
            with pytest.raises(TimeoutError):
                await sockets._relay(sockets.Line(stuck, 1, sockets.NEVER), slow, 60)
            message = quick.queue.get_nowait()
            assert message is not None
            return message.seq

        assert anonymous.http.portal.call(relay) == 1

    def test_counts_places_by_job(self) -> None:
        feed = Feed(1)
        feed.take_place(1)
        feed.take_place(2)
        with pytest.raises(TooManyFollowers):
            feed.take_place(1)
        feed.leave_place(1)
        feed.take_place(1)
