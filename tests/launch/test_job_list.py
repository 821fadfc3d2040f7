"""Training jobs as a table."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from launch.job_list import age, named, table

JOB = {
    "id": 7,
    "status": "running",
    "algorithm": "bilstm",
    "battery_ids": [1, 2],
    "current_epoch": 3,
    "total_epochs": 100,
    "current_loss": 0.123456,
    "created_at": "2026-01-01T00:00:00Z",
    "model_id": None,
    "error_message": None,
}


def rows(jobs) -> list[list[str]]:
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table(jobs))
    return [line.split() for line in console.export_text().splitlines()]


class TestTable:
    def test_says_how_far_a_job_is_and_how_it_ended(self):
        failed = JOB | {"id": 6, "status": "failed", "current_loss": None, "error_message": "no cycle has a capacity"}
        head, running, over = rows([JOB, failed])
        assert head == ["job", "status", "algorithm", "batteries", "epoch", "loss", "age", "model", "why"]
        assert running[:7] == ["7", "running", "bilstm", "1,", "2", "3/100", "0.1235"]
        assert over[:6] == ["6", "failed", "bilstm", "1,", "2", "3/100"]
        assert over[-5:] == ["no", "cycle", "has", "a", "capacity"]

    def test_shows_brackets_of_a_reason_as_they_are(self):
        reason = "columns[0] of [/data/x] is [bold]"
        assert " ".join(rows([JOB | {"error_message": reason}])[1]).endswith(reason)

    def test_names_a_few_batteries_and_counts_many(self):
        assert named([1, 2, 3]) == "1, 2, 3"
        assert named(range(7)) == "7 batteries"

    def test_ages_count_from_utc(self):
        moment = datetime.now(UTC) - timedelta(hours=2, minutes=5)
        assert age(moment.strftime("%Y-%m-%dT%H:%M:%SZ")) == "2 h 05 min"
