"""All settings as a table, for ``battery settings``; README.md has the same one."""

import re
from typing import Any

from pydantic import SecretStr

from store.settings import CHECKOUT, Settings

PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^/@]*(?=@)")  # of a URL


def shown(value: Any) -> str:
    """A value as a person sets it; secrets stay hidden."""
    if isinstance(value, SecretStr):
        return "(set)"
    if value is None or value == "":
        return ""
    if value == CHECKOUT:
        return "the checkout"
    return PASSWORD.sub(r"\1:***", str(value))


def rows() -> list[tuple[str, str, str]]:
    """Environment variable, default and meaning of every setting."""
    return [
        (f"BATTERY_{name.upper()}", shown(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
