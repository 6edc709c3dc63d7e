"""Texts that only the holder of a key can read, sealed by whoever has the other half of it.

X25519 with a key pair of the moment, HKDF, ChaCha20-Poly1305: each text has a key of its own, so the nonce is constant.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_NONCE: Final = bytes(12)


class CannotOpen(Exception):
    """The text was sealed for another key, or is none."""


def new_key() -> bytes:
    """The secret half."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_half(key: bytes) -> bytes:
    """What texts are sealed with. Raises ValueError unless it is a key."""
    return X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def seal(public: bytes, text: bytes) -> str:
    momentary = X25519PrivateKey.generate()
    sender = momentary.public_key().public_bytes_raw()
    shared = momentary.exchange(X25519PublicKey.from_public_bytes(public))
    return urlsafe_b64encode(sender + _cipher(shared, sender, public).encrypt(_NONCE, text, None)).decode()


def unseal(key: bytes, sealed: str) -> bytes:
    """Raises CannotOpen."""
    try:
        content = urlsafe_b64decode(sealed)
        sender, encrypted = content[:KEY_BYTES], content[KEY_BYTES:]
        shared = X25519PrivateKey.from_private_bytes(key).exchange(X25519PublicKey.from_public_bytes(sender))
        return _cipher(shared, sender, public_half(key)).decrypt(_NONCE, encrypted, None)
    except (ValueError, InvalidTag) as exc:
        raise CannotOpen from exc


def _cipher(shared: bytes, sender: bytes, recipient: bytes) -> ChaCha20Poly1305:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"kaa-epr-batch" + sender + recipient)
    return ChaCha20Poly1305(derived.derive(shared))
