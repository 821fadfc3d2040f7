"""Versions of the data set over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from api.outbox import unversioned_state
from store import data_versions
from store.session import transaction
from store.tables import Battery, utc_now

KEYS = {"id", "hash", "battery_count", "size_bytes", "created_at", "pushed_at", "current"}


@pytest.fixture
def versions(platform: Any, mat_file: Any) -> list[int]:
    """Three states of the data set: of one battery, of two, and of the first one again, in which it is."""
    first = platform.upload(mat_file)["id"]
    second = platform.upload(mat_file)["id"]
    with transaction() as session:
        one = data_versions.record(session, f"{1:032x}.dir", 1, 1000)
        one.pushed_at = utc_now()
        two = data_versions.record(session, f"{2:032x}.dir", 2, 2000)
        session.delete(session.get_one(Battery, second))
        session.get_one(Battery, first).data_version_id = one.id
        again = data_versions.record(session, f"{1:032x}.dir", 1, 1000)
        again.seen_at = two.seen_at + timedelta(seconds=1)
    return [one.id, two.id]


class TestList:
    def test_gives_the_state_found_last_first(self, platform: Any, versions: list[int]) -> None:
        one, two = versions
        body = platform.http.get("/api/v1/data-versions").json()
        assert [(item["id"], item["current"]) for item in body["items"]] == [(one, True), (two, False)]
        assert body["meta"] == {"page": 1, "page_size": 20, "total": 2, "total_pages": 1}
        newest = body["items"][0]
        assert newest.keys() == KEYS
        assert (newest["hash"], newest["battery_count"], newest["size_bytes"]) == (f"{1:032x}.dir", 1, 1000)
        assert newest["created_at"].endswith("Z")
        assert newest["pushed_at"].endswith("Z")
        assert body["items"][1]["pushed_at"] is None

    def test_pages(self, platform: Any, versions: list[int]) -> None:
        body = platform.http.get("/api/v1/data-versions", params={"page": 2, "page_size": 1}).json()
        assert [item["id"] for item in body["items"]] == [versions[1]]
        assert body["meta"] == {"page": 2, "page_size": 1, "total": 2, "total_pages": 2}
        assert platform.http.get("/api/v1/data-versions", params={"page": 9}).json()["items"] == []
        assert platform.http.get("/api/v1/data-versions", params={"page_size": 101}).status_code == 422

    def test_after_an_upload_no_version_is_the_current_one(
        self, platform: Any, versions: list[int], mat_file: Any
    ) -> None:
        platform.upload(mat_file)
        body = platform.http.get("/api/v1/data-versions").json()
        assert [item["current"] for item in body["items"]] == [False, False]

    def test_of_an_empty_platform_is_an_empty_page(self, platform: Any) -> None:
        body = platform.http.get("/api/v1/data-versions").json()
        assert (body["items"], body["meta"]["total"]) == ([], 0)


class TestRead:
    def test_gives_one(self, platform: Any, versions: list[int]) -> None:
        body = platform.http.get(f"/api/v1/data-versions/{versions[1]}").json()
        assert (body["id"], body["battery_count"], body["current"]) == (versions[1], 2, False)

    @pytest.mark.parametrize("number", [999, 0, -1, 2**63])
    def test_of_an_unknown_one_is_404(self, platform: Any, number: int) -> None:
        answer = platform.http.get(f"/api/v1/data-versions/{number}")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"Data version with ID {number} not found"

    def test_needs_a_token(self, anonymous: Any) -> None:
        assert anonymous.http.get("/api/v1/data-versions").status_code == 401


class TestOutbox:
    def test_a_deletion_asks_for_a_version_though_another_deletion_did_a_moment_ago(
        self, platform: Any, mat_file: Any
    ) -> None:
        """Prefect is asked with a key, and starts nothing twice for one key."""
        kept = platform.upload(mat_file)["id"]
        names = set()
        for number in (1, 2):
            gone = platform.upload(mat_file)["id"]
            with transaction() as session:
                version = data_versions.record(session, f"{number:032x}.dir", 2, 1000)
                version.pushed_at = utc_now()
                for battery_id in (kept, gone):
                    session.get_one(Battery, battery_id).data_version_id = version.id
            assert unversioned_state() is None
            assert platform.http.delete(f"/api/v1/batteries/{gone}").status_code == 204
            names.add(unversioned_state())
        assert len(names) == 2

    def test_uploads_while_a_run_waits_to_begin_ask_for_no_further_ones(
        self, platform: Any, mat_file: Any, eventually: Any
    ) -> None:
        def runs() -> list[dict[str, Any]]:
            return list(platform.prefect.of("version-data/version-data"))

        platform.upload(mat_file)
        (waiting,) = eventually(runs, 5, "a version is asked for")
        platform.upload(mat_file)
        platform.upload(mat_file)
        waiting["state"] = {"type": "RUNNING"}  # it may have looked already
        platform.upload(mat_file)
        eventually(lambda: len(runs()) > 1, 5, "another version is asked for")
        platform.upload(mat_file)
        assert len(runs()) == 2
