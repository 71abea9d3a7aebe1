"""The API's own description: true of every answer it gives to whatever a machine can think of asking."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.calls import ask, call
from tests.support.script import Script
from tests.support.sse_client import follow
from tests.support.stack import MODEL, Stack

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHECKS: list[Callable[..., Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Together below a minute, on two cores.
EXAMPLES = {"POST /v1/streams": 60, "GET /v1/streams/{stream_id}/events": 50, "GET /v1/streams": 30}
OTHERS = 15


async def test_no_answer_is_a_server_error_or_undocumented(broker: Stack) -> None:
    port = broker.ports[0]
    known = await ask(port, Script("fuzz", chunks=5))
    await follow([port], known)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    tried, seen = [], set[int]()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        tried.append(operation.label)
        cases = st.one_of(operation.as_strategy(), operation.as_strategy().map(lambda case: aimed(case, known)))
        if operation.label in EXAMPLES:
            cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        try_all(cases, EXAMPLES.get(operation.label, OTHERS), seen)
    assert len(tried) >= 11
    assert {200, 201, 202, 400, 404, 422} <= seen, "too tame to prove anything"


def aimed(case: Case[Any], known: str) -> Case[Any]:
    """The same request at something that is there, so that more than 404 is met. Deleting it is left to others."""
    if "stream_id" in case.path_parameters and case.method != "DELETE":
        case.path_parameters["stream_id"] = known
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = MODEL
    return case


def try_all(cases: st.SearchStrategy[Case[Any]], examples: int, seen: set[int]) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def attempt(case: Case[Any]) -> None:
        # A 503 of readiness is what was asked: are there so many workers?
        excluded: list[Callable[..., Any]] = (
            [not_a_server_error] if case.path == "/readyz" and case.query.get("workers") else []
        )
        seen.add(case.call_and_validate(checks=CHECKS, excluded_checks=excluded, timeout=10).status_code)

    attempt()


async def test_every_reference_leads_somewhere(broker: Stack) -> None:
    _, document = await call(broker.ports[0], "GET", "/openapi.json")
    for reference in set(re.findall(r"'\$ref': '#/([^']+)'", str(document))):
        node = document
        for name in reference.split("/"):
            node = node[name]
    assert "HTTPValidationError" not in str(document["paths"])


async def test_every_call_is_described_with_an_example(broker: Stack) -> None:
    _, document = await call(broker.ports[0], "GET", "/openapi.json")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            for status, response in operation["responses"].items():
                assert response["description"], (method, path, status)
    text = str(document)
    assert "What is a tailrace?" in text
    assert "1-5.9f2c01ab" in text
    assert "Accept" not in {parameter["name"] for parameter in document["paths"]["/v1/streams"]["post"]["parameters"]}
