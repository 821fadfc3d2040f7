"""Training jobs on the real stack: their life, their socket, at most three at once, stopping, failing."""

import json
import re
from contextlib import ExitStack

import pytest
import requests
from websockets.exceptions import ConnectionClosed

EVENT_KEYS = {
    "progress": {"status", "progress", "current_epoch", "total_epochs", "current_loss"},
    "log": {"level", "message"},
    "complete": {"status", "model_id", "final_metrics"},
    "error": {"status", "error_message"},
}
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FOR_EVER = 10_000  # epochs: such a job ends only when it is stopped
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013


def first(socket) -> dict:
    """The next message."""
    return json.loads(socket.recv(timeout=20))


def close_code(socket) -> int:
    """How the server closes a socket on which it says nothing."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


class TestLifeOfAJob:
    def test_ends_with_everything_filled_in(self, trained, api):
        job = api.job(trained["id"])
        assert (job["status"], job["algorithm"]) == ("succeeded", "baseline")
        assert (job["progress"], job["current_epoch"], job["total_epochs"]) == (1.0, 3, 3)
        assert isinstance(job["model_id"], int)
        moments = [job["created_at"], job["started_at"], job["finished_at"]]
        assert all(UTC.fullmatch(moment) for moment in moments)
        assert moments == sorted(moments)

    def test_is_listed_under_its_status_alone(self, trained, api):
        assert trained["id"] in [job["id"] for job in api.get("/training-jobs", status="succeeded")["items"]]
        assert trained["id"] not in [job["id"] for job in api.get("/training-jobs", status="failed")["items"]]
        assert trained["id"] in [job["id"] for job in api.get("/training-jobs", page_size=100)["items"]]

    def test_metrics_have_a_row_an_epoch(self, trained, api):
        metrics = api.get(f"/training-jobs/{trained['id']}/metrics")
        assert metrics["epochs"] == [1, 2, 3]
        assert len(metrics["train_loss"]) == len(metrics["val_loss"]) == 3
        assert all(isinstance(loss, float) for loss in metrics["train_loss"])

    def test_logs_are_pages_of_lines_in_order(self, trained, api):
        page = api.get(f"/training-jobs/{trained['id']}/logs")
        assert page["meta"]["page_size"] == 50
        assert page["logs"]
        for line in page["logs"]:
            assert set(line) >= {"timestamp", "level", "message"}
            assert UTC.fullmatch(line["timestamp"])
        assert [line["timestamp"] for line in page["logs"]] == sorted(line["timestamp"] for line in page["logs"])
        two = api.get(f"/training-jobs/{trained['id']}/logs", page=1, page_size=2)
        assert two["logs"] == page["logs"][:2]

    def test_cannot_be_stopped_any_more(self, trained, api, expect_error):
        expect_error(api("POST", f"/training-jobs/{trained['id']}/stop"), 409, "RESOURCE_CONFLICT")


class TestMessagesOfAJob:
    def test_every_message_has_its_keys(self, trained):
        assert trained["messages"]
        for message in trained["messages"]:
            assert set(message) >= {"type", "job_id", "timestamp"} | EVENT_KEYS[message["type"]], message
            assert message["job_id"] == trained["id"]
            assert UTC.fullmatch(message["timestamp"])

    def test_first_comes_the_present_state_and_last_completion(self, trained):
        opening, closing = trained["messages"][0], trained["messages"][-1]
        assert opening["type"] == "progress"
        assert opening["status"] in {"queued", "running"}
        assert opening["current_epoch"] == 0
        assert (closing["type"], closing["status"]) == ("complete", "succeeded")
        assert closing["model_id"] == trained["model_id"]
        assert set(closing["final_metrics"]) >= {"train_loss", "val_loss"}
        assert trained["close_code"] == 1000
        assert [message["type"] for message in trained["messages"]].count("complete") == 1

    def test_progress_comes_after_every_epoch_once(self, trained):
        progress = [message for message in trained["messages"] if message["type"] == "progress"]
        epochs = [message["current_epoch"] for message in progress if message["current_epoch"]]
        assert list(dict.fromkeys(epochs)) == [1, 2, 3]
        assert epochs == sorted(epochs)
        for message in progress:
            assert message["progress"] == pytest.approx(message["current_epoch"] / 3)
            assert message["total_epochs"] == 3

    def test_the_last_epoch_says_what_the_metrics_say(self, trained, api):
        metrics = api.get(f"/training-jobs/{trained['id']}/metrics")
        losses = {
            message["current_epoch"]: message["current_loss"]
            for message in trained["messages"]
            if message["type"] == "progress" and message["current_epoch"]
        }
        assert [losses[epoch] for epoch in metrics["epochs"]] == pytest.approx(metrics["train_loss"])

    def test_logs_are_sent_too(self, trained, api):
        sent = [message["message"] for message in trained["messages"] if message["type"] == "log"]
        assert sent
        kept = [line["message"] for line in api.logs(trained["id"])]
        assert set(sent) <= set(kept)

    @pytest.mark.parametrize("alias", ["ws", "stream"])
    def test_a_late_client_gets_the_state_and_the_closing_message(self, trained, api, drained, alias):
        with api.socket(f"/training-jobs/{trained['id']}/{alias}") as socket:
            messages, code = drained(socket, within=20)
        assert messages[0]["type"] == "progress"
        assert messages[0]["status"] == "succeeded"
        assert messages[0]["progress"] == 1.0
        assert messages[-1]["type"] == "complete"
        assert messages[-1]["model_id"] == trained["model_id"]
        assert code == 1000


@pytest.fixture(scope="module")
def path(trained) -> str:
    return f"/training-jobs/{trained['id']}/ws"


@pytest.fixture(scope="module")
def cookie(stack) -> str:
    login = {"username": stack.email, "password": stack.password}
    answer = requests.post(f"{stack.root}/api/v1/auth/token", data=login, timeout=20)
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in answer.cookies)


class TestWhoMayFollow:
    def test_header(self, api, path):
        with api.socket(path, additional_headers={"Authorization": f"Bearer {api.token}"}) as socket:
            assert first(socket)["type"] == "progress"

    def test_subprotocol_pair(self, api, path):
        with api.socket(path, token=False, subprotocols=["Bearer", api.token]) as socket:
            assert socket.subprotocol == "Bearer"
            assert first(socket)["type"] == "progress"

    def test_query(self, api, path):
        with api.socket(f"{path}?token={api.token}", token=False) as socket:
            assert first(socket)["type"] == "progress"

    def test_cookie_from_our_own_page(self, stack, api, path, cookie):
        with api.socket(path, token=False, additional_headers={"Cookie": cookie}, origin=stack.root) as socket:
            assert first(socket)["type"] == "progress"

    @pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null", None])
    def test_cookie_from_another_page_is_refused(self, api, path, cookie, origin):
        with api.socket(path, token=False, additional_headers={"Cookie": cookie}, origin=origin) as socket:
            assert close_code(socket) == POLICY_VIOLATION

    @pytest.mark.parametrize("suffix", ["", "?token=", "?token=nonsense"])
    def test_no_valid_token_is_refused(self, api, path, suffix):
        with api.socket(path + suffix, token=False) as socket:
            assert close_code(socket) == POLICY_VIOLATION

    def test_unknown_job_is_refused(self, api):
        with api.socket("/training-jobs/987654/ws") as socket:
            assert close_code(socket) == POLICY_VIOLATION

    def test_no_token_reaches_a_log(self, stack, api, path):
        with api.socket(f"{path}?token={api.token}", token=False) as socket:
            first(socket)
        signature = api.token.rsplit(".", 1)[1]
        logs = [stack.output, *(stack.home / "var").rglob("*.log")]
        assert logs
        assert not [log for log in logs if signature in log.read_text(errors="replace")]


@pytest.fixture(scope="module")
def crowd(api, cell, eventually):
    """Five jobs: three that would train for ever, one that waits its turn and one that is stopped while it waits."""
    ids = [api.train("bilstm", cell["id"], epochs=FOR_EVER, batch_size=2, hidden_size=8) for _ in range(3)]
    ids += [api.train("deephpm", cell["id"], epochs=3), api.train("baseline", cell["id"], epochs=3)]
    eventually(
        lambda: all(api.job(job_id)["current_epoch"] for job_id in ids[:3]), within=180, what="three jobs in training"
    )
    yield ids
    for job_id in ids:
        api("POST", f"/training-jobs/{job_id}/stop")


class TestSeveralJobs:
    """Each test goes on where the one before ended: the jobs are the same."""

    def test_three_run_and_the_others_wait(self, stack, api, crowd):
        assert len(stack.flow_runs()) >= 3
        assert [api.job(job_id)["status"] for job_id in crowd] == ["running"] * 3 + ["queued"] * 2
        assert api.get("/training-jobs", status="running")["meta"]["total"] == 3

    def test_a_job_stopped_while_queued_never_starts(self, api, crowd):
        stopped = api("POST", f"/training-jobs/{crowd[4]}/stop")
        assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
        messages, code = api.follow(crowd[4], within=20)
        assert (messages[-1]["type"], messages[-1]["status"], code) == ("error", "stopped", 1000)
        assert api.job(crowd[4])["started_at"] is None

    def test_a_battery_in_use_cannot_be_deleted(self, api, cell, crowd, expect_error):
        expect_error(api("DELETE", f"/batteries/{cell['id']}"), 409, "RESOURCE_CONFLICT")
        assert api.job(crowd[0])["status"] == "running"

    def test_ten_clients_follow_a_job_and_an_eleventh_is_refused(self, api, crowd, drained):
        path = f"/training-jobs/{crowd[0]}/ws"
        with ExitStack() as sockets:
            clients = [sockets.enter_context(api.socket(path)) for _ in range(10)]
            for client in clients:
                assert first(client)["status"] == "running"
            with api.socket(path) as eleventh:
                assert close_code(eleventh) in {POLICY_VIOLATION, TRY_AGAIN_LATER}
            stopped = api("POST", f"/training-jobs/{crowd[0]}/stop")
            assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
            for client in clients:
                messages, code = drained(client, within=20)
                assert (messages[-1]["type"], messages[-1]["status"]) == ("error", "stopped")
                assert messages[-1]["error_message"]
                assert code == 1000

    def test_a_stopped_job_lets_the_next_one_run_to_its_end(self, api, crowd):
        assert api.succeeded(crowd[3])["algorithm"] == "deephpm"
        assert api.job(crowd[4])["started_at"] is None

    def test_stopping_leaves_nothing_behind(self, stack, api, crowd, eventually, mlflow_run):
        for job_id in crowd[1:3]:
            answer = api("POST", f"/training-jobs/{job_id}/stop")
            assert (answer.status_code, answer.json()["status"]) == (200, "stopped")
        eventually(lambda: not stack.flow_runs(), within=60, what="no process of a job")
        for stopped in crowd[:3]:
            job = api.job(stopped)
            assert (job["status"], job["model_id"]) == ("stopped", None)
            assert UTC.fullmatch(job["finished_at"])
            run_id = mlflow_run(stopped)["run_id"]
            eventually(lambda job=stopped: mlflow_run(job)["status"] == "KILLED", within=20, what="MLflow's KILLED")
            answer = requests.get(f"{stack.mlflow}/api/2.0/mlflow/model-versions/search", timeout=20)
            assert run_id not in {version["run_id"] for version in answer.json().get("model_versions", [])}
        assert api("POST", f"/training-jobs/{crowd[2]}/stop").status_code == 409


class TestFromATerminal:
    def test_submits_watches_and_ends_with_the_jobs_success(self, stack, api, cell):
        shown = stack.run("train", "--batteries", str(cell["id"]), "-a", "baseline", "--set", "epochs=2", timeout_s=180)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        [job_id] = re.findall(r"^job (\d+): baseline on battery \d+$", shown.stdout, re.MULTILINE)
        assert f"job {job_id} succeeded: model {api.job(int(job_id))['model_id']}" in shown.stdout
        assert "epoch 2/2: loss " in shown.stdout
        again = stack.run("jobs", "watch", job_id)
        assert again.returncode == 0
        assert again.stdout.splitlines()[-1] == shown.stdout.splitlines()[-1]
        newest = stack.run("jobs", "list", "--limit", "1").stdout.splitlines()
        assert newest[1].split()[:6] == [job_id, "succeeded", "baseline", str(cell["id"]), "2/2", newest[1].split()[5]]
        assert newest[2].startswith("and ")
        assert f"\n{job_id} " not in stack.run("jobs", "list", "--status", "failed").stdout

    def test_what_the_platform_refuses_is_one_line(self, stack, cell):
        shown = stack.run("train", "-b", str(cell["id"]), "--set", "epochs=0")
        assert shown.returncode == 1
        assert "hyperparams.epochs" in shown.stderr
        assert len(shown.stderr.splitlines()) == 1
        assert stack.run("jobs", "watch", "987654").returncode == 1
        unknown = stack.run("jobs", "list", "--status", "lost")
        assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)
        assert "status" in unknown.stderr


@pytest.fixture(scope="module")
def failed(api, make_cell) -> dict:
    battery = api.upload(make_cell("two-cycles.mat", 2), nominal_capacity=1.1)
    return api.finished(api.train("bilstm", battery["id"], epochs=2)) | {"battery_id": battery["id"]}


class TestAJobThatCannotTrain:
    def test_fails_with_a_reason_that_names_the_battery(self, api, failed):
        assert (failed["status"], failed["model_id"]) == ("failed", None)
        messages, code = api.follow(failed["id"], within=20)
        assert (messages[-1]["type"], messages[-1]["status"], code) == ("error", "failed", 1000)
        reason = messages[-1]["error_message"]
        assert len(reason.split()) >= 4
        assert "Traceback" not in reason
        assert str(failed["battery_id"]) in reason or "two-cycles" in reason or "cycle" in reason

    def test_its_log_says_the_reason_too(self, api, failed):
        reason = api.follow(failed["id"], within=20)[0][-1]["error_message"]
        assert any(reason in line["message"] and line["level"].upper() == "ERROR" for line in api.logs(failed["id"]))

    def test_a_later_job_is_not_harmed(self, api, cell, failed):
        assert failed["status"] == "failed"
        assert api.succeeded(api.train("baseline", cell["id"], epochs=1))["model_id"]
