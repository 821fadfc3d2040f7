"""Commands that need no running stack, and starts that are refused."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil


def stack_processes(home: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("BATTERY_STACK") == home:
                found.append(process)
    return found


class TestHelp:
    def test_it_names_every_command_a_newcomer_needs(self, battery):
        shown = battery("--help").stdout
        for command in ("demo", "up", "down", "status", "logs", "settings", "users", "data", "benchmark", "test"):
            assert f" {command} " in shown

    def test_it_loads_nothing_heavy(self, battery):
        loaded = battery("--help", PYTHONPROFILEIMPORTTIME="1").stderr
        assert "typer" in loaded
        for module in ("torch", "prefect", "mlflow", "numpy", "sqlalchemy"):
            assert f" {module}\n" not in loaded


class TestTest:
    def test_arguments_and_the_status_are_pytests(self, battery, tmp_path):
        one = tmp_path / "test_one.py"
        one.write_text("def test_a_b():\n    assert False\ndef test_c():\n    pass\n")
        answer = battery("test", "-q", str(one), "-k", "a and b", f"--junitxml={tmp_path / 'report.xml'}")
        assert answer.returncode == 1
        assert "1 failed, 1 deselected" in answer.stdout
        assert 'tests="1"' in (tmp_path / "report.xml").read_text()


class TestWithoutAStack:
    def test_status_says_that_nothing_runs(self, battery, environment):
        answer = battery("status")
        assert answer.returncode == 3
        assert environment["BATTERY_HOME"] in answer.stdout
        assert "battery up" in answer.stdout

    def test_down_has_nothing_to_do(self, battery):
        assert battery("down").returncode == 0

    def test_a_file_that_is_not_there_is_refused_before_anything_starts(self, battery, environment):
        answer = battery("demo", "missing.mat")
        assert answer.returncode == 2
        assert "missing.mat" in answer.stderr
        assert not Path(environment["BATTERY_HOME"]).exists()

    def test_the_log_of_an_unknown_part_is_refused(self, battery):
        answer = battery("logs", "nosuch")
        assert answer.returncode == 2
        assert "worker" in answer.stderr

    def test_settings_show_values_and_hide_secrets(self, battery, environment):
        answer = battery("settings", BATTERY_SECRET_KEY="do not show this to anybody at all")
        assert environment["BATTERY_API_PORT"] in answer.stdout
        assert "do not show" not in answer.stdout


class TestUsersAdd:
    def accounts(self, environment: dict[str, str]) -> list[str]:
        with contextlib.closing(sqlite3.connect(Path(environment["BATTERY_HOME"]) / "var" / "battery.db")) as database:
            return [email for (email,) in database.execute("SELECT email FROM users")]

    def test_it_makes_an_account_in_an_empty_home(self, battery, environment):
        answer = battery("users", "add", "New@Example.com", "--password-stdin", stdin="a long enough one\n")
        assert answer.returncode == 0, answer.stderr
        assert self.accounts(environment) == ["new@example.com"]

    def test_a_short_password_is_refused_in_one_line(self, battery, environment):
        answer = battery("users", "add", "new@example.com", "--password-stdin", stdin="short\n")
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert "8 characters" in answer.stderr
        assert self.accounts(environment) == []


class TestRefusedStarts:
    def test_a_busy_port_names_its_holder_and_the_setting(self, battery, environment):
        port = int(environment["BATTERY_MLFLOW_PORT"])
        with socket.create_server(("127.0.0.1", port)):
            answer = battery("up")
        assert answer.returncode == 1
        assert f"port {port} (MLflow) is in use" in answer.stderr
        assert f"process {os.getpid()}" in answer.stderr
        assert "BATTERY_MLFLOW_PORT" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1

    def test_one_port_for_two_parts_names_both_settings(self, battery, environment):
        port = environment["BATTERY_MLFLOW_PORT"]
        answer = battery("up", BATTERY_API_PORT=port)
        assert answer.returncode == 1
        assert answer.stderr.startswith("battery: BATTERY_MLFLOW_PORT (MLflow) and BATTERY_API_PORT (API) are both")
        assert port in answer.stderr
        assert len(answer.stderr.splitlines()) == 1

    def test_a_foreign_address_is_not_called_a_busy_port(self, battery):
        answer = battery("up", BATTERY_HOST="192.0.2.1")  # reserved for documentation, so nobody's
        assert answer.returncode == 1
        assert "192.0.2.1 is not an address of this machine" in answer.stderr
        assert "BATTERY_HOST" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1

    def test_a_home_that_the_supervisor_would_misread_is_refused(self, battery, tmp_path):
        answer = battery("up", BATTERY_HOME=str(tmp_path / "a ;b"))
        assert answer.returncode == 1
        assert "BATTERY_HOME" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1

    def test_a_part_that_fails_is_named_with_its_last_words_and_leaves_nothing(self, battery, environment):
        answer = battery("up", BATTERY_HOST="0.0.0.0", BATTERY_SECRET_KEY="weak")  # noqa: S104
        assert answer.returncode == 1
        first, *said = answer.stderr.splitlines()
        assert first.startswith("battery: API ended while starting")
        assert f"{environment['BATTERY_HOME']}/var/log/battery.log" in first
        assert any("BATTERY_SECRET_KEY must be at least" in line for line in said)
        assert stack_processes(environment["BATTERY_HOME"]) == []

    def test_nothing_is_left_when_nobody_reads_what_it_says(self, environment):
        read, write = os.pipe()
        os.close(read)
        weak = {"BATTERY_HOST": "0.0.0.0", "BATTERY_SECRET_KEY": "weak"}  # noqa: S104
        command = [sys.executable, "-P", "-m", "launch", "up"]
        streams = {"stdout": write, "stderr": subprocess.DEVNULL}
        done = subprocess.run(command, env=environment | weak, **streams, timeout=240, check=False)
        os.close(write)
        assert done.returncode != 0
        assert stack_processes(environment["BATTERY_HOME"]) == []

    def test_a_supervisor_that_cannot_start_is_one_line(self, battery, environment):
        (Path(environment["BATTERY_HOME"]) / "var" / "log" / "supervisord.log").mkdir(parents=True)
        answer = battery("up")
        assert answer.returncode == 1
        assert answer.stderr.startswith("battery: supervisord did not start")
        assert len(answer.stderr.splitlines()) == 1


class TestExpectedFailures:
    """Each is one line and status 1, never a traceback."""

    def refused(self, answer) -> str:
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
        assert answer.stderr.startswith("battery: ")
        return answer.stderr

    def test_a_setting_that_is_no_number_is_named(self, battery):
        assert "BATTERY_API_PORT" in self.refused(battery("status", BATTERY_API_PORT="abc"))

    def test_a_platform_that_does_not_run(self, battery, environment):
        port = environment["BATTERY_API_PORT"]
        (Path(environment["BATTERY_HOME"]) / "var").mkdir(parents=True)
        for where in ((), ("--url", f"localhost:{port}")):
            told = self.refused(battery("jobs", "list", "--user", "a@b.cd", "--password-stdin", *where, stdin="x\n"))
            assert f"nothing answers at http://localhost:{port}" in told
            assert "`battery up`" in told

    def test_a_home_that_cannot_be_made(self, battery):
        assert "/proc/none" in self.refused(battery("up", BATTERY_HOME="/proc/none"))

    def test_a_database_that_cannot_be_reached(self, battery, free_ports):
        (port,) = free_ports(1)
        url = f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"
        answer = battery(
            "users", "add", "a@example.com", "--password-stdin", stdin="long enough\n", BATTERY_DATABASE_URL=url
        )
        assert "database" in self.refused(answer)

    def test_a_database_of_a_newer_release(self, battery, environment):
        add = ("users", "add", "a@example.com", "--password-stdin")
        assert battery(*add, stdin="long enough\n").returncode == 0
        file = Path(environment["BATTERY_HOME"]) / "var" / "battery.db"
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
            database.commit()
        assert "from_the_future" in self.refused(battery(*add, stdin="long enough\n"))
        assert "from_the_future" in battery("up").stderr
        assert stack_processes(environment["BATTERY_HOME"]) == []
