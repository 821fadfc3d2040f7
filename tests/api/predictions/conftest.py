"""What predictions need: a battery, a model."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ready(platform: Any, mat_file: Path) -> Any:
    """A platform with battery 1 and model 1."""
    platform.upload(mat_file, nominal_capacity="1.1", chemistry="LFP")
    platform.add_model()
    return platform
