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


class TestSevenUploadsAtOnce:
    def test_are_all_versioned(self, api, make_cell, row, listed, eventually):
        paths = [make_cell(f"together-{number}.mat", 6 + number) for number in range(7)]

        def upload(path: Path) -> dict:
            return type(api)(api.root, api.token).upload(path)

        with ThreadPoolExecutor(7) as clients:
            made = list(clients.map(upload, paths))
        assert [battery["total_cycles"] for battery in made] == [6 + number for number in range(7)]
        names = {f"raw/{battery['id']}.mat" for battery in made}
        eventually(lambda: names <= set(listed()), within=VERSIONED_WITHIN_S, what="all seven in a data version")
        for battery, path in zip(made, paths, strict=True):
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            assert listed()[f"raw/{battery['id']}.mat"] == digest
        eventually(
            lambda: all(row("batteries", battery["id"])["data_version_id"] for battery in made),
            within=20,
            what="every battery stamped with its version",
        )


class TestATrainedModel:
    def test_names_the_data_version_that_it_was_trained_on(self, row, trained, remote):
        digest = row("models", trained["model_id"])["data_version"]
        assert digest.endswith(".dir")
        assert (remote / "files" / "md5" / digest[:2] / digest[2:]).is_file()
