"""Requests made up from an OpenAPI document, and against it: each must be answered as it says (schemathesis)."""

from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

HEADERS = {"X-API-Key": "key"}

Operation = APIOperation[Any, Any, Any, Any]  # Any: schemathesis' own


def press(url: str, examples: int) -> int:
    """How many requests were answered as the document below the URL says; `examples` for each call and kind."""
    schema = schemathesis.openapi.from_url(f"{url}openapi.json", headers=HEADERS)
    pressed = 0
    with requests.Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                pressed += _press_operation(result.ok(), mode, session, examples)
    return pressed


def _press_operation(operation: Operation, mode: GenerationMode, session: requests.Session, examples: int) -> int:
    pressed = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answer(case: Case[Any]) -> None:
        nonlocal pressed
        pressed += 1
        response = case.call(session=session, headers=HEADERS)
        said = f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:300]}: {response.text[:300]}"
        assert response.status_code < 500, said
        case.validate_response(response, checks=[status_code_conformance, response_schema_conformance])

    try:
        answer()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "every document is made for some requests"
    return pressed
