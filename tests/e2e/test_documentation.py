"""What the pages point to is there."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
ELSEWHERE = re.compile(r"[a-z]+:")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
class TestPages:
    def test_every_relative_link_leads_to_a_file(self, page):
        links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        missing = [link for link in links if not ELSEWHERE.match(link) and not (page.parent / link).exists()]
        assert not missing

    def test_every_page_named_in_the_text_is_there(self, page):
        named = re.findall(r"\bdocs/[\w/-]+\.md\b", page.read_text())
        assert not [name for name in named if not (CHECKOUT / name).exists()]


def test_every_benchmark_has_its_table_on_the_performance_page():
    told = (CHECKOUT / "docs" / "performance.md").read_text()
    scripts = {path.name for path in (CHECKOUT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert scripts == set(re.findall(r"benchmarks/(\w+\.py)", told))
