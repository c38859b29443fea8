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

#: OpenSSL's words for what happens to operators, in ours.
_WORDS: Final = {
    "KEY_VALUES_MISMATCH": "the private key is not that of the certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no PEM certificate in it",
}


def server_context(cert: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    """For the listener. With `client_ca` every client must show a certificate it signed.

    Raises OSError or ssl.SSLError when a file can not be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, cert, key)
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise _named(error, client_ca) from error
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
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise _named(error, f"{ca}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        _load_pair(context, cert, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except OSError as error:
        raise _named(error, cert if key is None else f"{cert} with {key}") from error


def _no_passphrase() -> str:
    """In place of OpenSSL's own question on the terminal, which a running gateway would wait for."""
    raise ssl.SSLError(1, "the private key has a passphrase; one without is wanted")


def _named(error: OSError, files: str) -> OSError:
    """`error` with the files it is about, which neither OpenSSL nor the system names."""
    if not isinstance(error, ssl.SSLError):
        return OSError(error.errno, error.strerror, files)
    reason: str | None = getattr(error, "reason", None)
    text = error.strerror or str(error)
    if reason is not None:
        text = _WORDS.get(reason, text)
    elif "PEM lib" in text:
        text = "not PEM, or not a certificate and its private key"
    return ssl.SSLError(error.errno or 1, f"{files}: {text}")
