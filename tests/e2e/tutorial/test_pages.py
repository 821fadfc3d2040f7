"""The calls of the batteries page, the tutorial's page itself, and the page that the API serves for it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import requests

CHECKOUT = Path(__file__).resolve().parents[3]
TUTORIAL = CHECKOUT / "docs" / "tutorial.md"


class TestBatteriesPage:
    """The calls of the batteries page; its upload shows no token, so the account's is added."""

    def test_upload_example_runs_as_written_with_a_token_added(self, walk):
        shutil.copy(walk.folder / "battery_cell_001.mat", walk.folder / "battery_data.mat")
        script = """curl -X POST http://localhost:8000/api/v1/batteries \\
  -F "file=@battery_data.mat" \\
  -F "manufacturer=Severson" \\
  -F "chemistry=LFP" \\
  -F "nominal_capacity=1.1"
"""
        refused = json.loads(walk.shell(script))
        assert refused["error"]["code"] == "MISSING_TOKEN"
        made = json.loads(walk.shell(script.replace(" \\\n", ' -H "Authorization: Bearer $TOKEN" \\\n', 1)))
        assert made["filename"] == "battery_data.mat"
        assert set(made) >= walk.battery_keys

    def test_life_of_a_battery(self, api, make_cell, expect_error):
        made = api.upload(make_cell("life.mat", 5), manufacturer="A Lab", chemistry="LFP", nominal_capacity="1.1")
        path = f"/batteries/{made['id']}"
        page = api.get("/batteries", manufacturer="A Lab", page=1, page_size=20)
        assert [battery["id"] for battery in page["items"]] == [made["id"]]
        assert page["meta"] == {"page": 1, "page_size": 20, "total": 1, "total_pages": 1}

        changes = {"manufacturer": "Updated Manufacturer", "chemistry": "NMC", "nominal_capacity": 1.2}
        patched = api("PATCH", path, json=changes)
        assert patched.status_code == 200
        assert {key: patched.json()[key] for key in changes} == changes
        assert patched.json()["created_at"] == made["created_at"]
        assert patched.json()["updated_at"] > made["updated_at"]
        assert {key: api.get(path)[key] for key in changes} == changes

        third = api.get(f"{path}/cycles", cycle_index=3)
        assert [cycle["cycle_index"] for cycle in third["items"]] == [3]
        assert third["meta"]["total"] == 1
        # 1.1 Ah less two fades of 0.4 %, over the new nominal capacity of 1.2 Ah
        assert third["items"][0]["soh"] == pytest.approx(1.1 * (1 - 2 * 0.004) / 1.2, abs=0.01)

        deleted = api("DELETE", path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        expect_error(api("GET", path), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("GET", f"{path}/cycles"), 404, "RESOURCE_NOT_FOUND")
        expect_error(api("DELETE", path), 404, "RESOURCE_NOT_FOUND")

    def test_a_missing_battery_is_named_in_the_message(self, api, expect_error):
        error = expect_error(api("GET", "/batteries/999999"), 404, "RESOURCE_NOT_FOUND")
        assert error["message"] == "Battery with ID 999999 not found"


def test_the_page_holds_the_contracts_code_to_the_letter(blocks_of):
    seed = CHECKOUT.parent / "shared" / "contract" / "seeds" / "tutorial.md"
    if not seed.is_file():
        pytest.skip("the contract's tutorial is not beside the checkout")
    assert len(blocks_of(seed)) > 20
    assert blocks_of(TUTORIAL) == blocks_of(seed)


def test_the_front_page_offers_the_file_input_of_the_example(stack):
    answer = requests.get(f"{stack.root}/", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.search(r'<input[^>]*id="fileInput"', answer.text)
