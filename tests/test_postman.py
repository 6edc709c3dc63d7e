"""The Postman collection has every operation that there is and no other, and runs from top to bottom as it says.

Of Postman's scripts as much is understood as the collection uses: the status code that a request is to have, and the
variables that are taken from its answer.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest

from support.stack import Stack, running_stack

COLLECTION = json.loads((Path(__file__).parents[1] / "docs" / "kaa.postman_collection.json").read_text())
PREFIXES = ("tekton", "epr", "cm", "ccm", "kpc")
PATIENCE = 30.0
"""Seconds: far more than anything takes here."""
DEVICE_PATH = re.compile(r"^(/kpc)?/kp1/")
VARIABLE = re.compile(r"\{\{(\w+)\}\}")
EXPECTED_STATUS = re.compile(r"pm\.response\.to\.have\.status\((\d+)\)")
TAKEN_FROM_BODY = re.compile(r"pm\.collectionVariables\.set\('(\w+)', pm\.response\.json\(\)\.([\w.\[\]]+)\)")
TAKEN_FROM_HEADER = re.compile(r"pm\.collectionVariables\.set\('(\w+)', pm\.response\.headers\.get\('([\w-]+)'\)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of the collection, its variables not filled in."""

    name: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None
    script: str
    has_key: bool
    """Whether it is sent with the collection's API key."""

    @classmethod
    def of(cls, item: Mapping[str, Any], folder: Mapping[str, Any]) -> Self:
        request = item["request"]
        auth = request.get("auth") or folder.get("auth") or COLLECTION["auth"]
        return cls(
            name=f"{folder['name']}: {item['name']}",
            method=request["method"],
            url=request["url"]["raw"],
            headers={header["key"]: header["value"] for header in request["header"]},
            body=request.get("body", {}).get("raw"),
            script="\n".join(line for event in item["event"] for line in event["script"]["exec"]),
            has_key=auth["type"] == "apikey",
        )

    @property
    def path(self) -> str:
        return urlsplit(self.url.removeprefix("{{baseUrl}}")).path

    @property
    def status_code(self) -> int:
        (status_code,) = EXPECTED_STATUS.findall(self.script)
        return int(status_code)


CALLS = [Call.of(item, folder) for folder in COLLECTION["item"] for item in folder["item"]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def operations(stack: Stack) -> set[tuple[str, str]]:
    """Method and path of every operation in the OpenAPI of the services, `{}` standing for each parameter."""
    return {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for prefix in PREFIXES
        for path, methods in get_json(f"{stack.http_url}/{prefix}/api/v1/openapi.json")["paths"].items()
        for method in methods
    }


def get_json(url: str) -> Any:
    return httpx.get(url, timeout=PATIENCE, trust_env=False).raise_for_status().json()


def test_every_request_is_an_operation_that_there_is(operations: set[tuple[str, str]]) -> None:
    unknown = [call.name for call in CALLS if not DEVICE_PATH.match(call.path) and not called(call, operations)]
    assert unknown == []


def test_every_operation_is_in_the_collection(operations: set[tuple[str, str]]) -> None:
    missing = operations - {operation for call in CALLS for operation in called(call, operations)}
    assert sorted(missing) == []


def called(call: Call, operations: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The operation of a call: that with its very path, or else the one whose parameters take its levels."""
    path = VARIABLE.sub("{}", call.path)
    if (call.method, path) in operations:
        return {(call.method, path)}
    patterns = {operation: re.escape(operation[1]).replace(r"\{\}", "[^/]+") for operation in operations}
    return {
        operation
        for operation, pattern in patterns.items()
        if operation[0] == call.method and re.fullmatch(pattern, path)
    }


def test_the_five_operations_of_a_device_and_its_clock_are_there() -> None:
    paths = {call.path for call in CALLS if call.status_code == 200}
    metadata = {f"/kp1/{{{{appVersion}}}}/epmx/{{{{token}}}}/{name}" for name in ("get", "get/keys", "update")}
    metadata |= {f"/kp1/{{{{appVersion}}}}/epmx/{{{{token}}}}/{name}" for name in ("update/keys", "delete/keys")}
    assert metadata | {"/kp1/{{appVersion}}/tsx/time"} <= paths


def test_what_postman_shows_of_an_address_is_the_address() -> None:
    for item in (item for folder in COLLECTION["item"] for item in folder["item"]):
        url = item["request"]["url"]
        shown = "/".join([*url["host"], *url["path"]])
        query = "&".join(f"{parameter['key']}={parameter['value']}" for parameter in url.get("query", []))
        assert url["raw"] == (f"{shown}?{query}" if query else shown)


def test_no_secret_is_in_the_collection() -> None:
    variables = {variable["key"]: variable["value"] for variable in COLLECTION["variable"]}
    assert {name for name, value in variables.items() if value} == {"baseUrl", "tenantId"}


def test_the_whole_collection_runs_from_top_to_bottom(stack: Stack) -> None:
    variables = {variable["key"]: variable["value"] for variable in COLLECTION["variable"]}
    variables |= {"baseUrl": stack.http_url, "apiKey": stack.api_key}
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        for call in CALLS:
            answer = client.request(
                call.method,
                filled(call.url, variables),
                headers={name: filled(value, variables) for name, value in call.headers.items()}
                | (stack.headers if call.has_key else {}),
                content=None if call.body is None else filled(call.body, variables),
            )
            assert answer.status_code == call.status_code, f"{call.name}: {answer.text}"
            for name, place in TAKEN_FROM_BODY.findall(call.script):
                variables[name] = member(answer.json(), place)
            for name, header in TAKEN_FROM_HEADER.findall(call.script):
                variables[name] = answer.headers[header]


def test_every_line_of_the_scripts_is_understood_here() -> None:
    for call in CALLS:
        for line in call.script.splitlines():
            assert any(form.search(line) for form in (EXPECTED_STATUS, TAKEN_FROM_BODY, TAKEN_FROM_HEADER)), line


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables; fails when one has no value."""
    assert all(variables[name] for name in VARIABLE.findall(text)), text
    return VARIABLE.sub(lambda found: variables[found[1]], text)


def member(value: Any, place: str) -> str:
    """What stands at a place such as `content[0].id`."""
    for name in re.findall(r"\w+", place):
        value = value[int(name) if name.isdigit() else name]
    assert isinstance(value, str)
    return value
