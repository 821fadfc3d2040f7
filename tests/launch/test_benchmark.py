"""The table that `battery benchmark` prints, and what it says of a folder it cannot use."""

import io

from rich.console import Console

from launch.benchmark import run_benchmark, tables

RESULT = {
    "protocol": "P2",
    "seeds": 2,
    "models": {
        "bilstm": {
            "soh_mape": 0.4053, "soh_mape_std": 0.0101, "soh_mae": 0.0038, "ece": 0.02, "worst_cell": 0.51,
            "worst_cell_name": "R2.5_battery-8",
            "per_cell": {"R2.5_battery-4": {"soh_mape": 0.3}, "R2.5_battery-8": {"soh_mape": 0.51}},
        },
        "ridge": {
            "soh_mape": 12.5, "soh_mape_std": 0.0, "worst_cell": 14.0, "worst_cell_name": "R2.5_battery-4",
            "per_cell": {"R2.5_battery-4": {"soh_mape": 14.0}, "R2.5_battery-8": {"soh_mape": 11.0}},
        },
    },
}  # fmt: skip


def printed(result):
    stream = io.StringIO()
    for table in tables("P2", result):
        Console(file=stream, width=160).print(table)
    return stream.getvalue()


class TestTables:
    def test_show_each_model_with_its_spread_and_its_worst_cell(self):
        shown = printed(RESULT)
        assert "P2, 2 seeds" in shown
        assert "0.4053 ± 0.0101" in shown
        assert "0.5100 (R2.5_battery-8)" in shown
        assert "12.5" in shown

    def test_show_brackets_of_names_as_they_are(self):
        scores = {"soh_mape": 1.0, "worst_cell": 1.0, "worst_cell_name": "[red]1", "per_cell": {"[red]1": {}}}
        shown = printed(RESULT | {"models": {"ridge": scores}})
        assert "1.0000 ([red]1)" in shown
        assert "[red]1" in shown.split("by cell")[1]

    def test_show_every_cell(self):
        by_cell = printed(RESULT).split("soh_mape by cell")[1]
        assert all(value in by_cell for value in ("R2.5_battery-4", "0.3000", "14.0", "11.0"))


class TestRunBenchmark:
    def test_an_unknown_protocol_is_said(self, tmp_path, capsys):
        assert run_benchmark("P9", tmp_path, 1, as_json=True) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "no protocol 'P9'" in said.err

    def test_a_folder_without_cells_is_said(self, tmp_path, capsys):
        assert run_benchmark("p4", tmp_path, 1, as_json=True) == 2
        assert "P4 wants at least two .mat files of different cells" in capsys.readouterr().err
