"""What a user may ask for."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from models.hyperparameters import HYPERPARAMETERS


class TestDefaults:
    def test_are_the_documented_ones(self):
        for algorithm in ("baseline", "bilstm", "deephpm"):
            asked = HYPERPARAMETERS[algorithm]()
            assert (asked.epochs, asked.batch_size, asked.learning_rate) == (100, 32, 0.001)
        assert HYPERPARAMETERS["bilstm"]().hidden_size == 64
        assert HYPERPARAMETERS["deephpm"]().physics_weight == 0.5


class TestValidation:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("epochs", 0),
            ("epochs", True),
            ("epochs", 1.0),
            ("epochs", "5"),
            ("epochs", None),
            ("batch_size", 0),
            ("learning_rate", 0),
            ("learning_rate", 1.5),
            ("learning_rate", "0.1"),
            ("learning_rate", True),
            ("learning_rate", float("nan")),
            ("learning_rate", float("inf")),
            ("hidden_size", -1),
            ("window", 0),
            ("patience", 0),
            ("ensemble_size", 0),
            ("seed", -1),
            ("physics_weight", 0.5),
            ("layers", 2),
        ],
    )
    def test_names_the_field_that_is_wrong(self, field, value):
        with pytest.raises(ValidationError) as refused:
            HYPERPARAMETERS["bilstm"](**{field: value})
        assert [error["loc"] for error in refused.value.errors()] == [(field,)]

    def test_takes_a_whole_number_for_a_fraction(self):
        assert HYPERPARAMETERS["deephpm"](physics_weight=1, learning_rate=1).physics_weight == 1.0

    def test_hidden_size_is_for_the_bilstm_alone(self):
        with pytest.raises(ValidationError):
            HYPERPARAMETERS["baseline"](hidden_size=64)


class TestImport:
    def test_needs_no_torch(self):
        code = "import sys, models.hyperparameters; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
