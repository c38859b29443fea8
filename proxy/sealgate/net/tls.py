"""TLS contexts for both legs: 1.2 at least, host names checked."""

from __future__ import annotations

import ssl
from typing import Any, Final

#: Of one certificate, and characters of each: what is longer is no user's.
NAMES_MAX: Final = 100
NAME_CHARS_MAX: Final = 255


def server_context(cert: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    """For the listener. With `client_ca` every client must show a certificate it signed.

    Raises OSError or ssl.SSLError when a file can not be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificate_names(peercert: dict[str, Any] | None) -> tuple[str, ...]:
    """The common names and alternative names of a verified certificate, as `getpeercert` gives them.

    Empty without a certificate, and for one that was not verified, of which nothing is given.
    """
    if not peercert:
        return ()
    common = [value for part in peercert.get("subject", ()) for key, value in part if key == "commonName"]
    alternative = [value for _, value in peercert.get("subjectAltName", ()) if isinstance(value, str)]
    names = [name for name in (*common, *alternative) if 0 < len(name) <= NAME_CHARS_MAX]
    return tuple(dict.fromkeys(names[:NAMES_MAX]))


def client_context(ca: str | None, cert: str | None, key: str | None, verify: bool) -> ssl.SSLContext:
    """For the upstream. Without `ca` the system's authorities count.

    Raises OSError or ssl.SSLError when a file can not be read or does not fit.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        context.load_cert_chain(cert, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def refresh(context: ssl.SSLContext, ca: str | None, cert: str | None, key: str | None) -> None:
    """Let a context in use take the files as they are now, for its next handshakes.

    Authorities are added, none is taken away before a restart. Raises OSError (ssl.SSLError among it); try
    the files on a context of their own first.
    """
    if cert is not None:
        context.load_cert_chain(cert, key)
    if ca is not None:
        context.load_verify_locations(ca)
