"""An API whose Prefect, MLflow and BentoML are away, on the live API's database."""

import pytest
import requests


@pytest.fixture(scope="module")
def alone(stack, free_ports, eventually, servers, account, login):
    """A second API process on the same home whose Prefect, MLflow and BentoML are not there, with short limits."""
    (port,) = free_ports(1)
    away = "http://127.0.0.1:9"  # the discard port: nothing listens
    environment = stack.environment | {
        "BATTERY_API_PORT": str(port),
        "BATTERY_PREFECT_URL": f"{away}/api",
        "BATTERY_SERVING_URL": away,
        "BATTERY_MLFLOW_URL": away,
        "BATTERY_TOKEN_LIFETIME_S": "2",
        "BATTERY_UPLOAD_LIMIT": "2/minute",
    }
    root = f"http://localhost:{port}"
    log = stack.output.with_name("alone.log")
    with servers(["api"], log, environment) as process:

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return requests.get(f"{root}/api/v1/health", timeout=2).ok
            except requests.RequestException:
                return False

        eventually(up, within=60, what="the second API")
        session = login(*account)  # a token of the first API is good for the second
        session.root = root
        yield session


class TestWithoutTheOtherParts:
    def test_a_prediction_is_503(self, alone, cell, trained, expect_error):
        body = {"algorithm": "baseline", "model_id": trained["model_id"], "battery_id": cell["id"]}
        expect_error(alone("POST", "/predictions", json=body), 503, "SERVICE_UNAVAILABLE")

    def test_a_download_is_503(self, alone, trained, expect_error):
        expect_error(alone("GET", f"/models/{trained['model_id']}/download"), 503, "SERVICE_UNAVAILABLE")

    def test_uploads_past_the_limit_are_429(self, alone, make_cell, expect_error):
        path = make_cell("limited.mat", 3)
        assert [alone.upload(path)["total_cycles"] for _ in range(2)] == [3, 3]
        with path.open("rb") as file:
            answer = alone("POST", "/batteries", files={"file": file})
        expect_error(answer, 429, "RATE_LIMIT_EXCEEDED")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["X-RateLimit-Limit"] == "2"
        assert alone.get("/batteries")["items"]  # other calls go on

    def test_an_old_token_has_expired(self, account, alone, api, eventually, expect_error):
        short = alone.login(*account).json()
        assert short["expires_in"] == 2

        def ask() -> requests.Response:
            token = {"Authorization": f"Bearer {short['access_token']}"}
            return requests.get(f"{api.root}/api/v1/auth/me", headers=token, timeout=10)

        eventually(lambda: ask().status_code == 401, within=10, what="expiry")
        expect_error(ask(), 401, "TOKEN_EXPIRED")
