"""What TLS clients are met with: the server's certificate and key, and the authorities that may vouch for a client.

A client is asked for a certificate but need not have one; one that it shows must verify. The files are looked at again
and again: when they change, new clients meet the new ones, and connections go on. Broken files are reported, and the
former ones stay in use. TLS 1.2 and 1.3.
"""

import asyncio
import logging
import re
import ssl
from pathlib import Path

from kaa_common.errors import StartError

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 2.0
"""Seconds between two looks at the files; a look is a stat of each."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII)

Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """Raises StartError when the files cannot be used."""

    def __init__(self, certificate_file: Path, key_file: Path, authorities_file: Path | None = None) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._authorities_file = authorities_file
        self._files = tuple(file for file in (certificate_file, key_file, authorities_file) if file is not None)
        self._trusted = ""
        try:
            self._stamp = self._look()
            self._load()
        except (OSError, ValueError) as exc:
            raise StartError(f"cannot use the TLS files {self._names()}: {exc}") from exc

    def trust(self, authorities: str) -> None:
        """Verify clients' certificates with these authorities (PEM), besides those of the file."""
        if authorities != self._trusted:
            before, self._trusted = self._trusted, authorities
            try:
                self._load()
            except (OSError, ValueError):
                self._trusted = before
                raise

    def refresh(self) -> None:
        """Use the files as they are now, if they changed."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._load()
        except (OSError, ValueError) as exc:
            logger.error("the TLS files %s changed and cannot be used, the former ones stay: %s", self._names(), exc)
            self._stamp = ()
        else:
            logger.info("the TLS files %s changed and are in use", self._names())

    async def keep_fresh(self) -> None:
        """Follow the files for as long as it runs."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            self.refresh()

    def _look(self) -> Stamp:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _load(self) -> None:
        authorities = self._trusted
        if self._authorities_file is not None:
            authorities += self._authorities_file.read_text("ascii")
        context = server_context(self._certificate_file, self._key_file, authorities)
        self.chain = certificates_in(self._certificate_file.read_text("ascii"))
        """The server's certificate and what follows it in its file (PEM): clients may use it as their trust store."""
        self.context = context
        """What the next client is met with."""

    def _names(self) -> str:
        return ", ".join(map(str, self._files))


def server_context(certificate_file: Path, key_file: Path, authorities: str) -> ssl.SSLContext:
    """Raises OSError and ValueError, of which ssl.SSLError is both, when one of them cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client that asks for another handshake on its connection asks for processor time; none of ours ever has to.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Without a password the library would ask for one on the terminal.
    context.load_cert_chain(certificate_file, key_file, password="")
    context.verify_mode = ssl.CERT_OPTIONAL
    # An authority that is brought along need not vouch for itself, nor be complete.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if trusted := certificates_in(authorities):
        context.load_verify_locations(cadata=trusted)
    return context


def certificates_in(pem: str) -> str:
    """The certificates of a PEM text, and nothing else of it, such as a private key."""
    return "".join(f"{block}\n" for block in _CERTIFICATE.findall(pem))
