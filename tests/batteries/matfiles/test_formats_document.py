"""The example in docs/formats.md is run as it stands there."""

import re
from pathlib import Path

import pytest

from batteries.matfiles import layouts
from batteries.matfiles.names import understand
from batteries.matfiles.reader import known_layouts, read

DOCUMENT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")


def block(title):
    return re.search(rf'```python title="{title}"\n(.*?)```', DOCUMENT, re.DOTALL)[1]


@pytest.fixture
def example_is_there(tmp_path, monkeypatch):
    """The example's layout in a folder that counts as part of the package of layouts."""
    folder = tmp_path / "layouts"
    folder.mkdir()
    (folder / "beispiel.py").write_text(block("layout"), encoding="utf-8")
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(folder)])
    known_layouts.cache_clear()
    yield
    known_layouts.cache_clear()


class TestExample:
    @pytest.mark.usefixtures("example_is_there")
    def test_the_examples_test_passes_once_its_layout_is_there(self, tmp_path):
        names = {}
        exec(compile(block("test"), "docs/formats.md", "exec"), names)  # noqa: S102 - our own document
        names["test_the_example_is_read_in_the_products_units"](tmp_path)

    def test_without_its_layout_the_example_is_another_layout(self, tmp_path):
        names = {}
        exec(compile(block("test"), "docs/formats.md", "exec"), names)  # noqa: S102 - our own document
        with pytest.raises(Exception, match="no battery cycles found"):
            names["test_the_example_is_read_in_the_products_units"](tmp_path)

    def test_a_layout_is_a_small_file(self):
        assert len(block("layout").splitlines()) < 30


class TestText:
    def test_every_layout_is_described(self):
        for layout in known_layouts():
            assert f"| `{layout.name}` |" in DOCUMENT

    def test_every_word_in_the_table_of_names_is_understood(self):
        rows = re.findall(
            r"^\| (voltage|current|time|temperature|capacity|resistance) \| ([^|]*) \|", DOCUMENT, re.MULTILINE
        )
        words = [word for _, cell in rows for word in re.split(r"[,;] ", cell)]
        assert len(words) > 25
        for word in words:
            assert understand(word.replace("(s)", "s")) is not None, word

    def test_read_names_it_in_a_refusal(self, write_mat, tmp_path):
        with pytest.raises(Exception, match="read: matr, nasa, oxford, xjtu, generic; docs"):
            read(write_mat(tmp_path / "x.mat", {"a": 1.0}))
