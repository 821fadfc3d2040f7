"""A job in a terminal, from its messages."""

import json
import threading

import pytest
import typer
from rich.console import Console
from websockets.sync.server import serve

from launch import jobs_cli
from launch.loss_curve import curve
from launch.platform_client import PlatformClient
from launch.watch import Lines, View, facts

STATE = {"type": "progress", "status": "running", "total_epochs": 4, "current_epoch": 0, "current_loss": None}


def epoch(number: int, train: float, validation: float) -> dict:
    known = {"current_loss": train, "train_loss": train, "val_loss": validation, "eta_seconds": 3.0}
    return STATE | known | {"current_epoch": number, "best_val_loss": validation}


def log(message: str, level: str = "INFO") -> dict:
    return {"type": "log", "level": level, "message": message}


def shown(view) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(view)
    return console.export_text()


class TestView:
    def test_shows_how_far_it_is_and_how_long_it_takes(self):
        view = View(7)
        for message in (STATE, log("Split by battery"), log("Epoch 1/4: loss 0.5"), epoch(1, 0.5, 0.75)):
            view.take(message)
        text = shown(view)
        for part in ("job 7", "running", "1/4", "loss 0.5, best validation 0.75, 3 s left", "Split by battery"):
            assert part in text
        assert "Epoch 1/4" not in text
        assert text.splitlines()[1].strip() == "loss 0.5, best validation 0.75, 3 s left"
        assert view.end == "job 7 goes on"

    @pytest.mark.parametrize(
        ("last", "succeeded", "end"),
        [
            ({"type": "complete", "status": "succeeded", "model_id": 3}, True, "job 7 succeeded: model 3"),
            (
                {"type": "error", "status": "stopped", "error_message": "by its user"},
                False,
                "job 7 stopped: by its user",
            ),
        ],
    )
    def test_says_how_it_ended(self, last, succeeded, end):
        view = View(7)
        view.take(STATE)
        view.take(last)
        assert (view.succeeded, view.end) == (succeeded, end)


class TestLines:
    def test_tell_some_epochs_and_the_log(self):
        plain = Lines(clock=lambda: 0.0).about
        told = [plain(epoch(number, 0.5, 0.75) | {"total_epochs": 40}) for number in range(1, 41)]
        assert sum(line is not None for line in told) == 10
        assert told[39] == "  epoch 40/40: loss 0.5, best validation 0.75, 3 s left"
        lines = [log("Device: cpu"), log("Traceback", "DEBUG"), log("Epoch 1/4: loss 0.5"), STATE]
        assert [plain(message) for message in lines] == ["  Device: cpu", None, None, None]

    def test_tell_no_time_left_that_is_none(self):
        assert facts(epoch(4, 0.5, 0.75) | {"eta_seconds": 0.4}) == "loss 0.5, best validation 0.75"

    def test_break_a_silence_of_half_a_minute(self):
        now = [0.0]
        plain = Lines(clock=lambda: now[0]).about
        told = []
        queued = STATE | {"status": "queued"}
        slow = [epoch(number, 0.5, 0.75) | {"total_epochs": 1000} for number in (1, 2, 3)]
        beat = {"type": "heartbeat"}
        for seconds, message in [
            (0, queued),
            (15, beat),
            (30, beat),
            (45, beat),
            (65, slow[0]),
            (90, slow[1]),
            (95, slow[2]),
        ]:
            now[0] = seconds
            told.append(plain(message))
        first = "  epoch 1/1000: loss 0.5, best validation 0.75, 3 s left"
        third = "  epoch 3/1000: loss 0.5, best validation 0.75, 3 s left"
        assert told == [None, None, "  still queued, epoch 0/4", None, first, None, third]


class TestCurve:
    def test_draws_the_highest_at_the_top_and_the_lowest_at_the_bottom(self):
        rows = curve([1.0, 0.1, 0.01], [1.0, 0.1, 0.01], width=20, height=3).plain.splitlines()
        marks = [row.partition("│")[2] for row in rows[:3]]
        assert [row.index("●") for row in marks] == [0, 4, 8]
        assert [row.partition("│")[0].strip() for row in rows[:3]] == ["1", "", "0.01"]

    def test_leaves_out_what_is_no_number(self):
        assert curve([], []).plain == ""
        assert curve([None, float("nan")], [None]).plain == ""
        drawn = curve([None, 0.5, -0.5], [0.25, 0.25, 0.25], width=20, height=5).plain
        assert drawn.count("●") == 2 + 1  # the curve's, and the legend's


class TestArguments:
    def test_numbers(self):
        assert jobs_cli.numbers("1,2, 3") == [1, 2, 3]
        with pytest.raises(typer.BadParameter):
            jobs_cli.numbers("1;2")

    def test_settings(self):
        given = ("epochs=5", "learning_rate=1e-3", "patience=null", "body=gru")
        assert dict(map(jobs_cli.setting, given)) == {
            "epochs": 5,
            "learning_rate": 0.001,
            "patience": None,
            "body": "gru",
        }
        with pytest.raises(typer.BadParameter):
            jobs_cli.setting("epochs")


class TestFollow:
    def test_goes_on_after_the_last_message_when_the_connection_breaks(self):
        asked = []

        def answer(connection) -> None:
            asked.append(connection.request.path.partition("?")[2])
            if len(asked) == 1:
                connection.send(json.dumps(STATE | {"seq": 0}))
                connection.send(json.dumps(log("Starting") | {"seq": 4}))
                connection.socket.shutdown(2)  # without a close frame, as a killed server does
            else:
                connection.send(json.dumps({"type": "complete", "seq": 5}))

        server = serve(answer, "127.0.0.1", 0, close_timeout=0.2)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            client = PlatformClient(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
            client.http.headers["Authorization"] = "Bearer token"
            assert [message["seq"] for message in client.follow(1, after=0)] == [0, 4, 5]
        finally:
            server.shutdown()
            thread.join()
        assert asked == ["heartbeat=15&after=0", "heartbeat=15&after=4"]
