"""The example consumer of the register's events (docs/events.md), run against a platform that has published some."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from support.process import clean_environ
from support.stack import Stack, running_stack

EXAMPLE = Path(__file__).parents[1] / "examples" / "replay_events.py"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose endpoints `one` and `two` have changed."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        with httpx.Client(base_url=running.http_url, headers=running.headers, trust_env=False) as rest:
            rest.post("/tekton/api/v1/applications", json={"name": "a"}).raise_for_status()
            rest.post("/tekton/api/v1/applications/a/app-versions", json={"nameSuffix": "v1"}).raise_for_status()
            for name in ("one", "two"):
                body = {"appVersion": {"name": "a-v1"}, "endpointId": name}
                rest.post("/epr/api/v1/endpoints", json=body).raise_for_status()
            for level in range(3):
                rest.put("/epr/api/v1/endpoints/one/metadata/level", json=level).raise_for_status()
        yield running


def replayed(stack: Stack, *arguments: str) -> list[list[str]]:
    """Revision, endpoint, event and record of what the example prints."""
    finished = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env={**clean_environ(), "NATS_URL": stack.nats_url},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return [line.split(" ", 3) for line in finished.stdout.splitlines()]


def test_it_reads_all_that_happened_in_its_order(stack: Stack) -> None:
    lines = replayed(stack)
    changes = [(endpoint, event) for _, endpoint, event, _ in lines if endpoint in ("one", "two")]
    registered, updated = "endpoint.lifecycle.registered", "endpoint.metadata.updated"
    assert changes == [("one", registered), ("two", registered), *[("one", updated)] * 3]
    assert "level" in lines[-1][3]


def test_it_goes_on_behind_a_revision_of_an_endpoint(stack: Stack) -> None:
    all_of_one = replayed(stack, "--endpoint", "one")
    assert len(all_of_one) == 4
    assert replayed(stack, "--endpoint", "one", "--after", all_of_one[1][0]) == all_of_one[2:]


def test_it_starts_at_a_time(stack: Stack) -> None:
    assert len(replayed(stack, "--since", "2020-01-01T00:00:00Z", "--endpoint", "one")) == 4
    assert replayed(stack, "--since", datetime.now(UTC).isoformat()) == []


def test_what_was_published_outlives_that_nats_is_killed(stack: Stack) -> None:
    before = replayed(stack)
    os.kill(stack.nats_pid, 9)
    stack.wait_ready()
    for _ in range(100):
        try:
            assert replayed(stack) == before
        except subprocess.CalledProcessError:  # NATS is not back yet
            continue
        return
    raise AssertionError("the events did not come back")
