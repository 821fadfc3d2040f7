"""Every state of the data set is a DVC version that plain ``dvc`` restores elsewhere."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

VERSIONED_WITHIN_S = 90


def dvc(folder: Path, *arguments: str) -> str:
    """One command of the ``dvc`` on the path of this Python, as a data scientist runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def remote(stack) -> Path:
    return stack.home / "var" / "dvc-remote"


@pytest.fixture
def listed(stack, remote):
    """Path and MD5 of every file of the version that ``data.dvc`` names, read from the remote."""

    def read() -> dict[str, str]:
        pointer = stack.home / "data.dvc"
        if not pointer.is_file():
            return {}
        known = yaml.safe_load(pointer.read_text())
        if not known:
            return {}  # DVC is writing it at this moment
        digest = known["outs"][0]["md5"]
        listing = remote / "files" / "md5" / digest[:2] / digest[2:]
        if not listing.is_file():
            return {}
        return {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text())}

    return read


@pytest.fixture
def restored(remote, tmp_path):
    """Data folder of a version, pulled by ``dvc`` into an empty folder somewhere else."""

    def restore(pointer: str, name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        dvc(folder, "init", "--no-scm", "-q")
        dvc(folder, "remote", "add", "-d", "store", str(remote), "-q")
        (folder / "data.dvc").write_text(pointer)
        dvc(folder, "pull", "-q")
        return folder / "data"

    return restore


class TestAnUpload:
    def test_is_versioned_and_its_removal_too_and_the_old_version_can_be_restored(
        self, stack, api, make_cell, listed, restored, eventually
    ):
        path = make_cell("kept.mat", 8)
        made = api.upload(path)
        name = f"raw/{made['id']}.mat"
        eventually(lambda: name in listed(), within=VERSIONED_WITHIN_S, what=f"{name} in a data version")
        assert listed()[name] == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        with_it = (stack.home / "data.dvc").read_text()
        assert api("DELETE", f"/batteries/{made['id']}").status_code == 204
        eventually(lambda: name not in listed(), within=VERSIONED_WITHIN_S, what=f"a data version without {name}")
        without = (stack.home / "data.dvc").read_text()
        assert not list((stack.home / "data").rglob(f"{made['id']}.*"))
        assert (restored(with_it, "before") / name).read_bytes() == path.read_bytes()
        assert (restored(with_it, "again") / "cycles" / f"{made['id']}.parquet").is_file()
        assert not (restored(without, "after") / name).exists()


class TestTwentyUploadsAtOnce:
    def test_are_all_versioned_also_while_others_version_and_push(self, stack, api, make_cell, row, listed, eventually):
        paths = [make_cell(f"together-{number}.mat", 6 + number % 7) for number in range(20)]

        def upload(path: Path) -> dict:
            return type(api)(api.root, api.token).upload(path)

        with ThreadPoolExecutor(24) as clients:
            pushes = [clients.submit(stack.run, "data", "push") for _ in range(3)]
            made = list(clients.map(upload, paths))
        for push in pushes:
            assert push.result().returncode == 0, push.result().stderr
        assert [battery["total_cycles"] for battery in made] == [6 + number % 7 for number in range(20)]
        names = {f"raw/{battery['id']}.mat" for battery in made}
        eventually(lambda: names <= set(listed()), within=VERSIONED_WITHIN_S, what="all twenty in a data version")
        for battery, path in zip(made, paths, strict=True):
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            assert listed()[f"raw/{battery['id']}.mat"] == digest
        eventually(
            lambda: all(row("batteries", battery["id"])["data_version_id"] for battery in made),
            within=20,
            what="every battery stamped with its version",
        )
        assert "LockError" not in (stack.home / "var" / "log" / "battery.log").read_text(errors="replace")


class TestCheckout:
    def test_while_the_platform_runs_brings_a_deleted_battery_back_and_takes_it_away_again(
        self, stack, api, make_cell, eventually
    ):
        def current() -> dict | None:
            return next((version for version in api.get("/data-versions")["items"] if version["current"]), None)

        def settled() -> dict | None:
            version = current()
            return version if version and version["pushed_at"] else None

        made = api.upload(make_cell("comes-back.mat", 9), chemistry="LFP")
        with_it = eventually(settled, within=VERSIONED_WITHIN_S, what="the upload in a data version")
        cycles = api.get(f"/batteries/{made['id']}/cycles", page_size=9)["items"]
        assert api("DELETE", f"/batteries/{made['id']}").status_code == 204
        without = eventually(settled, within=VERSIONED_WITHIN_S, what="the removal in a data version")
        assert without["id"] != with_it["id"]
        done = stack.run("data", "checkout", str(with_it["id"]))
        assert done.returncode == 0, done.stderr
        back = api.get(f"/batteries/{made['id']}")
        assert {key: back[key] for key in made if key in back} == made
        again = api.get(f"/batteries/{made['id']}/cycles", page_size=9)["items"]
        assert [cycle | {"id": None} for cycle in again] == [cycle | {"id": None} for cycle in cycles]
        assert current()["id"] == with_it["id"]
        done = stack.run("data", "checkout", without["hash"])
        assert done.returncode == 0, done.stderr
        assert api("GET", f"/batteries/{made['id']}").status_code == 404
        verified = stack.run("data", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr


class TestATrainedModel:
    def test_names_the_data_version_that_it_was_trained_on(self, row, trained, remote):
        digest = row("models", trained["model_id"])["data_version"]
        assert digest.endswith(".dir")
        assert (remote / "files" / "md5" / digest[:2] / digest[2:]).is_file()
