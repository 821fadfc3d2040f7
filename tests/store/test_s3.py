"""Data versions on a server that speaks S3's protocol (moto's, in a process of its own)."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import requests

from store import histories, remotes
from store.dvc_objects import MissingObject, listing, not_cached, objects_of
from store.restoring import restore
from store.settings import CHECKOUT, get_settings
from store.verifying import verify
from store.versions import materialise

pytestmark = pytest.mark.skipif(
    not (find_spec("dvc_s3") and find_spec("moto")),
    reason="needs the extra s3, and moto: `./battery test` installs both",
)
BUCKET = "cells"
WITHIN_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory, servers, eventually) -> Iterator[str]:
    """Address of the server, with an empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("s3") / "log"
    with servers(["moto.server", "-H", "127.0.0.1", "-p", str(port)], log, os.environ):

        def made() -> bool:
            try:
                return requests.put(f"{url}/{BUCKET}", timeout=5).ok
            except requests.ConnectionError:
                return False

        eventually(made, WITHIN_S, "the S3 server answers")
        yield url


@pytest.fixture
def s3(server, home, monkeypatch, request):
    """The settings name a folder of the bucket as remote, as docs/operations.md says. What else looks into it."""
    monkeypatch.setenv("BATTERY_DVC_REMOTE", f"s3://{BUCKET}/{request.node.name}")
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    import boto3

    return boto3.resource("s3").Bucket(BUCKET)


def key(md5: str) -> str:
    """Where the remote of the settings keeps an object."""
    folder = str(get_settings().dvc_remote).removeprefix(f"s3://{BUCKET}/")
    return f"{folder}/files/md5/{md5[:2]}/{md5[2:]}"


class TestS3:
    def test_versions_are_pushed_restored_and_verified(self, home, upload, s3, version_now, tmp_path):
        upload(chemistry="LFP")
        first = version_now()
        before = {path: path.read_bytes() for path in (home.data / "raw").iterdir()}
        upload()
        second = version_now()
        assert first.pushed_at is not None
        assert second.pushed_at is not None
        assert not list((home.var / "dvc-remote").rglob("*.dir")), "nothing goes to the folder in var"
        kept = {item.key for item in s3.objects.all()}
        assert {key(md5) for md5 in objects_of(home, second.dvc_hash)} <= kept
        shutil.rmtree(home.home / ".dvc" / "cache")
        materialise(second.dvc_hash, [1, 2], tmp_path / "pinned")
        assert [len(h) for h in histories.histories(tmp_path / "pinned", [1, 2], 0.8)] == [30, 30]
        shutil.rmtree(home.home / ".dvc" / "cache")
        assert restore(first.dvc_hash).removed == [2]
        assert {path: path.read_bytes() for path in (home.data / "raw").iterdir()} == before
        version_now()
        found = verify(download=True)
        assert (found.problems, found.unpushed, found.contents_read) == ([], [], True)

    def test_what_was_lost_or_damaged_there_is_found_and_never_believed(self, home, upload, s3, version_now):
        upload()
        version = version_now()
        names = listing(home, version.dvc_hash)
        raw, cycles = names["raw/1.mat"], names["cycles/1.parquet"]
        s3.Object(key(raw)).delete()
        s3.Object(key(cycles)).put(Body=b"damaged")
        assert [(p.where, p.name, p.issue) for p in verify().problems] == [("remote", raw, "is missing")]
        assert [(p.where, p.name, p.issue) for p in verify(download=True).problems] == [
            ("remote", cycles, "is damaged"),
            ("remote", raw, "is missing"),
        ]
        assert remotes.push_everything() == 1
        shutil.rmtree(home.home / ".dvc" / "cache")
        with pytest.raises(MissingObject, match=cycles):
            remotes.pull([version.dvc_hash])
        assert not_cached(home, {raw, cycles}) == {cycles}

    def test_plain_dvc_pulls_it_elsewhere(self, home, upload, s3, version_now, tmp_path):
        upload()
        version_now()
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        (folder / "data.dvc").write_bytes((home.home / "data.dvc").read_bytes())
        (folder / ".dvc").mkdir()
        remote = f"['remote \"cells\"']\n    url = {get_settings().dvc_remote}\n"
        (folder / ".dvc" / "config").write_text(f"[core]\n    no_scm = true\n    remote = cells\n{remote}")
        subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=folder, check=True, timeout=120)
        assert (folder / "data" / "raw" / "1.mat").read_bytes() == (home.data / "raw" / "1.mat").read_bytes()

    def test_wrong_credentials_or_address_are_one_line(self, home, upload, s3, tmp_path):
        upload()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            nobody = listener.getsockname()[1]
        away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{nobody}", "AWS_MAX_ATTEMPTS": "1"}
        answer = subprocess.run(
            [sys.executable, "-m", "launch", "data", "push"],
            cwd=CHECKOUT,
            env=os.environ | away,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
        assert str(nobody) in answer.stderr
