"""README.md says what is so: the settings table, and the tutorial, whose lines are run as they stand."""

import re
import subprocess
from pathlib import Path

from batteries import samples
from launch.settings_table import rows

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()


class TestSettings:
    def test_the_table_has_every_setting_its_default_and_its_meaning(self):
        table = re.findall(r"^\| `(BATTERY_\w+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", README, re.MULTILINE)
        assert table == rows()


class TestLinks:
    def test_every_local_link_leads_somewhere(self):
        targets = re.findall(r"\]\(([^)#]+)\)", README)
        assert targets
        assert [target for target in targets if "://" not in target and not (CHECKOUT / target).exists()] == []


class TestTutorial:
    def test_its_lines_run_as_they_stand(self, stack, tmp_path):
        (script,) = re.findall(r"<!-- tutorial:.*?```sh\n(.*?)```", README, re.DOTALL)
        file = tmp_path / "cell.mat"
        samples.write_mat(samples.synthetic_cell(60), file)
        given = {"API": stack.root, "EMAIL": stack.email, "PASSWORD": stack.password, "FILE": str(file), "EPOCHS": "2"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=stack.environment | given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^job \d+: succeeded$", done.stdout, re.MULTILINE), done.stdout
        batch = done.stdout.strip().splitlines()[-1]
        assert '"results"' in batch
        assert '"soh"' in batch
