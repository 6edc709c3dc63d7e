"""Calls of the REST interfaces, and where the command finds its API key.

Whatever goes wrong is a CommandError whose message is the one line that the user gets to read.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from kaa_cli.data_folder import ADMIN_KEY, FOLDER
from kaa_cli.errors import CommandError

TIMEOUT = 30.0
"""Seconds a call may take: the slowest, a token's cut-off on every replica, takes a second or two."""


class RestClient:
    """The REST interfaces of all services below one URL. A context manager: leaving it closes its connections."""

    def __init__(self, url: str, api_key: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, headers={"X-API-Key": api_key}, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: str | None = None,
    ) -> Any:
        """The JSON of a successful answer, None when it has no body; `content` is a body that is JSON text already.

        Raises CommandError with the server's message.
        """
        headers = None if content is None else {"Content-Type": "application/json"}
        response = self._send(method, path, params=params, json=body, content=content, headers=headers)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise CommandError(f"{response.url} did not answer with JSON; is it the platform's address?") from None

    def text(self, method: str, path: str) -> str:
        """The text of a successful answer that is not JSON. Raises CommandError with the server's message."""
        return self._send(method, path).text

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # Any: as httpx takes it
        """A successful response."""
        try:
            response = self._client.request(method, path, **request)
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            raise CommandError(f"cannot reach {self._url} ({exc}); is the platform running there?") from exc
        if response.is_success:
            return response
        raise CommandError(_message(response) or f"the server answered {response.status_code} {response.reason_phrase}")


def _message(response: httpx.Response) -> str | None:
    try:
        content = response.json()
    except ValueError:
        return None
    return content.get("message") if isinstance(content, dict) else None


def path(service: str, *segments: str) -> str:
    """The path of a resource of a service's REST interface."""
    # A dot is quoted too: the segments "." and ".." would otherwise be taken for steps in the path.
    return "/".join([f"/{service}/api/v1", *(quote(segment, safe="").replace(".", "%2E") for segment in segments)])


def find_api_key(environ: Mapping[str, str], folder: Path) -> str:
    """KAA_API_KEY, else the admin key of the local stack that was started in this folder or one above it.

    Raises CommandError when there is neither.
    """
    if api_key := environ.get("KAA_API_KEY"):
        return api_key
    for place in (folder, *folder.parents):
        try:
            return (place / FOLDER / ADMIN_KEY).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise CommandError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    raise CommandError(
        f"no API key: set KAA_API_KEY, or call this where `kaa up` was started (it keeps one in {FOLDER}/{ADMIN_KEY})"
    )
