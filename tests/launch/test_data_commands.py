"""``battery data …`` on a home with two versions: of batteries 1 and 2, then of 1, changed, and 3."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batteries.features import FEATURE_VERSION

CHECKOUT = Path(__file__).resolve().parents[2]
TWO_VERSIONS = """
import shutil, sys
from batteries.samples import synthetic_cell, write_mat
from store import changes, imports, migrations, versions

def upload(seed):
    with imports.incoming() as folder:
        path = folder / "received"
        write_mat(synthetic_cell(cycles=8, seed=seed), path)
        imports.import_upload(path, f"cell{seed}.mat")

migrations.upgrade()
upload(1)
upload(2)
versions.version_everything()
upload(3)
changes.update_battery(1, chemistry="LFP")
changes.delete_battery(2)
versions.version_everything()
"""


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory) -> Path:
    """Such a home; tests take copies."""
    home = tmp_path_factory.mktemp("versions") / "home"
    subprocess.run(
        [sys.executable, "-c", TWO_VERSIONS],
        cwd=CHECKOUT,
        env=os.environ | {"BATTERY_HOME": str(home)},
        check=True,
        timeout=120,
    )
    return home


@pytest.fixture
def home(two_versions, environment) -> Path:
    return Path(shutil.copytree(two_versions, environment["BATTERY_HOME"]))


@pytest.fixture
def change_one(environment):
    """Change battery 3, so that the present state is in no version."""

    def do() -> None:
        code = "from store import changes; changes.update_battery(3, chemistry='new')"
        subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=environment, check=True, timeout=60)

    return do


def described(home: Path) -> dict[str, str | None]:
    """Chemistry by battery, as the files below data/ have it."""
    found = sorted((home / "data" / "batteries").glob("*.json"))
    return {path.stem: json.loads(path.read_text())["chemistry"] for path in found}


class TestVersions:
    def test_lists_the_newest_first_and_marks_where_data_is(self, battery, home):
        head, newest, oldest = battery("data", "versions").stdout.splitlines()
        assert head.split() == ["version", "hash", "batteries", "size", "created", "(UTC)", "pushed"]
        assert (newest.split()[0], newest.split()[-1]) == ("2", "current")
        assert oldest.split()[0] == "1"
        assert "current" not in oldest

    def test_json_has_what_the_api_says(self, battery, home):
        newest, oldest = json.loads(battery("data", "versions", "--json").stdout)
        assert (newest["id"], newest["battery_count"], newest["current"]) == (2, 2, True)
        assert (oldest["id"], oldest["battery_count"], oldest["current"]) == (1, 2, False)
        assert newest["hash"] in (home / "data.dvc").read_text()
        assert newest["size_bytes"] == sum(p.stat().st_size for p in (home / "data").rglob("*.*") if p.is_file())
        assert newest["pushed_at"] > newest["created_at"]

    def test_of_an_empty_home_are_none(self, battery):
        answer = battery("data", "versions")
        assert (answer.returncode, answer.stdout) == (0, "there is no data version yet\n")


class TestCheckout:
    def test_goes_back_and_forth(self, battery, home):
        back = battery("data", "checkout", "1")
        assert back.returncode == 0, back.stderr
        assert "batteries 1, 2 came back or changed; battery 3 went" in back.stdout
        assert described(home) == {"1": "NMC", "2": "NMC"}
        listed = json.loads(battery("data", "versions", "--json").stdout)
        assert [(version["id"], version["current"]) for version in listed] == [(1, True), (2, False)]
        forth = battery("data", "checkout", listed[1]["hash"][:8])
        assert forth.returncode == 0, forth.stderr
        assert described(home) == {"1": "LFP", "3": "NMC"}

    def test_with_unversioned_changes_asks_and_then_keeps_them(self, battery, home, change_one):
        change_one()
        refused = battery("data", "checkout", "1")
        assert refused.returncode == 1
        assert "not versioned yet: battery 3" in refused.stdout
        assert "--yes" in refused.stderr
        assert described(home) == {"1": "LFP", "3": "new"}
        done = battery("data", "checkout", "1", "--yes")
        assert done.returncode == 0, done.stderr
        assert "`battery data checkout 3` brings it back" in done.stdout
        assert described(home) == {"1": "NMC", "2": "NMC"}
        battery("data", "checkout", "3")
        assert described(home) == {"1": "LFP", "3": "new"}

    def test_of_an_older_releases_version_gives_the_batteries_this_releases_features(self, battery, home, environment):
        """Of that release are a battery and its description alone, which say so."""
        older = """
from store import imports, versions
imports.FEATURE_VERSION, refresh, versions.refresh_stale = 0, versions.refresh_stale, list
with imports.incoming() as folder:
    from batteries.samples import synthetic_cell, write_mat
    write_mat(synthetic_cell(cycles=6, seed=9), folder / "received")
    imports.import_upload(folder / "received", "old.mat")
print(versions.version_everything(push=False).id)
refresh()
versions.refresh_stale = refresh
versions.version_everything(push=False)
"""
        made = subprocess.run(
            [sys.executable, "-c", older], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
        )
        done = battery("data", "checkout", made.stdout.strip())
        assert done.returncode == 0, done.stderr
        assert "1 battery got this release's features" in done.stdout
        said = json.loads((home / "data" / "batteries" / "4.json").read_text())
        assert said["feature_version"] == FEATURE_VERSION

    @pytest.mark.parametrize("name", ["9", "nonsense", "0" * 32])
    def test_of_what_is_no_version_is_one_line(self, battery, home, name):
        answer = battery("data", "checkout", name)
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert name in answer.stderr
        assert described(home) == {"1": "LFP", "3": "NMC"}


class TestPushAndPull:
    def test_make_up_for_a_lost_remote_and_a_lost_cache(self, battery, home):
        shutil.rmtree(home / "var" / "dvc-remote")
        pushed = battery("data", "push")
        assert pushed.returncode == 0, pushed.stderr
        objects = sum(path.is_file() for path in (home / "var" / "dvc-remote").rglob("*"))
        assert f": {objects} objects copied" in pushed.stdout
        shutil.rmtree(home / ".dvc" / "cache")
        pulled = battery("data", "pull")
        assert pulled.returncode == 0, pulled.stderr
        assert sum(path.is_file() for path in (home / ".dvc" / "cache").rglob("*")) == objects
        assert "2 versions whole" in pulled.stdout

    def test_a_home_that_lost_its_database_is_made_again_from_pointer_and_remote(self, battery, home):
        shutil.rmtree(home / "data")
        shutil.rmtree(home / ".dvc" / "cache")
        for file in (home / "var").glob("battery.db*"):
            file.unlink()
        pulled = battery("data", "pull")
        assert pulled.returncode == 0, pulled.stderr
        command = pulled.stdout.split("`")[1].removeprefix("battery ")
        done = battery(*command.split())
        assert done.returncode == 0, done.stderr
        assert described(home) == {"1": "LFP", "3": "NMC"}
        assert battery("data", "verify").returncode == 0

    def test_an_unreachable_remote_is_one_line(self, battery, home):
        answer = battery("data", "push", BATTERY_DVC_REMOTE="/proc/none")
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert answer.stderr.startswith("battery: ")


class TestVerify:
    def test_says_what_is_wrong_and_what_to_do_and_that_helps(self, battery, home):
        assert battery("data", "verify").returncode == 0
        damaged = home / "data" / "cycles" / "1.parquet"
        damaged.write_bytes(b"damaged")
        lost = next((home / "var" / "dvc-remote").rglob("*.dir"))
        lost.unlink()
        wrong = battery("data", "verify")
        assert wrong.returncode == 1
        assert "cycles/1.parquet" in wrong.stdout
        assert "2 problems" in wrong.stderr
        found = json.loads(battery("data", "verify", "--json").stdout)
        assert [(problem["where"], problem["cure"]) for problem in found["problems"]] == [
            ("data", "rm data/cycles/1.parquet, then battery data checkout 2"),
            ("remote", "battery data push"),
        ]
        damaged.unlink()
        assert battery("data", "checkout", "2").returncode == 0
        assert battery("data", "push").returncode == 0
        right = battery("data", "verify")
        assert right.returncode == 0, right.stdout
