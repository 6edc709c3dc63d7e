from collections.abc import Iterator

import pytest

from support.stack import Stack, running_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform that runs; the tests that share it leave nothing behind that others would trip over."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
