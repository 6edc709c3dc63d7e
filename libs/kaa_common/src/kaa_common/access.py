"""Who may use the REST interfaces: whoever shows an API key whose hash is configured."""

import hashlib
import hmac
from collections.abc import Mapping

from kaa_common.errors import Unauthorized

API_KEY_HEADERS = ("x-api-key", "x-iamcore-api-key")


def hash_api_key(api_key: str) -> str:
    """What is kept of an API key. The keys are random and long, so a plain SHA-256 is as good as a slow hash."""
    return hashlib.sha256(api_key.encode()).hexdigest()


class Access:
    """The API keys that are accepted, as hashes."""

    def __init__(self, api_key_hashes: str) -> None:
        self._hashes = [known.strip().lower().encode() for known in api_key_hashes.split(",") if known.strip()]

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises Unauthorized unless a request with these headers may proceed."""
        api_key = next((headers[name] for name in API_KEY_HEADERS if name in headers), None)
        if api_key is None:
            raise Unauthorized("an API key is required: send it in the X-API-Key header")
        offered = hash_api_key(api_key).encode()
        if not any(hmac.compare_digest(offered, known) for known in self._hashes):
            raise Unauthorized("the API key is not valid")
