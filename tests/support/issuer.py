"""An OpenID Connect issuer on a free port: it publishes its keys over HTTP, and signs tokens with them."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "kaa"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Issuer:
    """Signs with one key for each id; what it answers at each path can be changed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The paths that were asked for."""
        self.documents: dict[str, object] = {}
        self.keys: dict[str, PrivateKey] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.jwks_url = f"{self.url}/keys"
        self.documents["/.well-known/openid-configuration"] = {"issuer": self.url, "jwks_uri": self.jwks_url}

    def rotate(self, *key_ids: str, algorithm: str = "ES256") -> None:
        """Have new keys with these ids, and publish these alone."""
        self.keys = {key_id: _new_key(algorithm) for key_id in key_ids}
        self.documents["/keys"] = {"keys": [jwk(key, key_id) for key_id, key in self.keys.items()]}

    def token(self, key_id: str = "first", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is valid but for these claims; None takes one away."""
        key = self.keys[key_id]
        valid = {"iss": self.url, "aud": AUDIENCE, "exp": time.time() + 300}
        payload = {name: value for name, value in (valid | claims).items() if value is not None}
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(payload, key, algorithm, {"kid": key_id, **(headers or {})})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                document = issuer.documents.get(self.path)
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(503 if document is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer with the key `first`."""
    issuer = Issuer()
    issuer.rotate("first")
    with issuer.serving():
        yield issuer


def jwk(key: PrivateKey, key_id: str) -> dict[str, Any]:
    """What is published of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": key_id, "use": "sig"}


def _new_key(algorithm: str) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())
