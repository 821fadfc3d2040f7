"""The OpenAPI document of the live API, and the page that shows it."""

import re

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

PUBLIC = {("POST", "/api/v1/auth/token"), ("GET", "/api/v1/health"), ("GET", "/api/v1/version")}
DOCUMENTED = {
    ("POST", "/auth/token"),
    ("GET", "/auth/me"),
    ("POST", "/auth/logout"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/batteries"),
    ("POST", "/batteries"),
    ("GET", "/batteries/{battery_id}"),
    ("PATCH", "/batteries/{battery_id}"),
    ("DELETE", "/batteries/{battery_id}"),
    ("GET", "/batteries/{battery_id}/cycles"),
    ("GET", "/training-jobs"),
    ("POST", "/training-jobs"),
    ("GET", "/training-jobs/{job_id}"),
    ("POST", "/training-jobs/{job_id}/stop"),
    ("GET", "/training-jobs/{job_id}/logs"),
    ("GET", "/training-jobs/{job_id}/metrics"),
    ("GET", "/models"),
    ("GET", "/models/{model_id}"),
    ("GET", "/models/{model_id}/download"),
    ("DELETE", "/models/{model_id}"),
    ("POST", "/predictions"),
    ("POST", "/predictions/batch"),
    ("GET", "/predictions"),
}


def served(description: dict) -> set[tuple[str, str]]:
    """Verb and path of every operation that the OpenAPI document holds."""
    verbs = {"get", "post", "put", "patch", "delete"}
    return {(verb.upper(), path) for path, item in description["paths"].items() for verb in item if verb in verbs}


@pytest.fixture(scope="module")
def description(stack) -> dict:
    return requests.get(f"{stack.root}/openapi.json", timeout=10).json()


class TestOpenApi:
    def test_the_document_is_valid_openapi_3_1(self, description):
        assert description["openapi"].startswith("3.1")
        OpenAPIV31SpecValidator(description).validate()

    def test_every_documented_call_is_in_it(self, description):
        assert {(verb, "/api/v1" + path) for verb, path in DOCUMENTED} <= served(description)

    def test_every_operation_is_described_and_says_which_errors_it_answers(self, description):
        for verb, path in served(description):
            operation = description["paths"][path][verb.lower()]
            assert operation.get("summary") or operation.get("description"), (verb, path)
            if (verb, path) not in PUBLIC:
                assert "401" in operation["responses"], (verb, path)

    def test_the_documentation_page_needs_no_other_host(self, stack):
        page = requests.get(f"{stack.root}/docs", timeout=10)
        assert page.status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page.text)

    def test_every_operation_refuses_without_a_token(self, description, stranger, expect_error):
        guarded = served(description) - PUBLIC
        assert len(guarded) >= len(DOCUMENTED) - len(PUBLIC)
        for verb, template in sorted(guarded):
            path = re.sub(r"\{[^}]*\}", "1", template).removeprefix("/api/v1")
            expect_error(stranger(verb, path), 401, "MISSING_TOKEN")
            expect_error(stranger(verb, path, params={"token": "x", "access_token": "x"}), 401, "MISSING_TOKEN")
