"""TLS contexts for both legs: 1.2 at least, host names checked.

A context is never changed once it is in use. New files make a new one, for the handshakes to come: what a
changed one would keep (authorities taken out of a file, tickets of earlier sessions) is then gone.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
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


def serve_by_name(context: ssl.SSLContext, others: Mapping[str, ssl.SSLContext]) -> None:
    """Let `context`, for the listener, hand over to another one by the name that the client asks for (SNI).

    Names are exact, or `*.` and what follows the first dot. Who asks for none or another gets `context`.
    """
    by_name = {name.lower(): other for name, other in others.items()}

    def choose(handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower()
        chosen = by_name.get(wanted) or by_name.get("*." + wanted.partition(".")[2])
        if chosen is not None:
            handshake.context = chosen

    context.sni_callback = choose


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
