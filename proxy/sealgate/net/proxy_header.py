"""The PROXY protocol, versions 1 and 2: who a load balancer's client is, said before the client speaks.

Bytes in, a source out; `reading.py` has the socket. Follows HAProxy's specification "The PROXY protocol,
Versions 1 & 2". A header that is not exactly right is refused: what follows it would be taken for something
it is not.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

V1_START: Final = b"PROXY "
V2_START: Final = b"\r\n\r\n\x00\r\nQUIT\n"
#: The longest line of version 1, its end included, as the specification counts it.
V1_BYTES_MAX: Final = 107
#: Version 2 may announce 65,535 bytes of addresses and extensions. HAProxy's are below 1 KB, certificates
#: among them.
V2_BYTES_MAX: Final = 4096

_V2_HEADER: Final = struct.Struct("!12sBBH")
_V2_LOCAL: Final = 0x20
_V2_PROXY: Final = 0x21
_V2_UNSPECIFIED: Final = 0x00
_V2_UNIX: Final = 0x31
#: Family and protocol -> layout of the addresses: source, destination, source port, destination port.
_V2_INTERNET: Final = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
_V2_UNIX_BYTES: Final = 216
_V2_EXTENSION: Final = struct.Struct("!BH")


class ProxyHeaderError(Exception):
    """This is no PROXY header. The text holds nothing of what was sent."""


@dataclass(slots=True, frozen=True)
class Source:
    """Where the client is. `host` is "" when the header does not tell: then it is the proxy itself."""

    host: str = ""
    port: int = 0


class ProxyHeader:
    """Collects one header."""

    __slots__ = ("_data", "source")

    def __init__(self) -> None:
        self._data = b""
        #: Set when the header is whole.
        self.source: Source | None = None

    def take(self, data: bytes) -> int:
        """How many of these bytes belong to the header: all of them, until it is whole.

        Raises ProxyHeaderError as soon as it can be none.
        """
        before = len(self._data)
        whole = self._data + data[: V2_BYTES_MAX - before]
        if whole.startswith(V2_START[: len(whole)]):
            size = _v2_size(whole)
            if size and len(whole) >= size:
                self.source = _read_v2(whole[:size])
        elif whole.startswith(V1_START[: len(whole)]):
            size = _v1_size(whole)
            if size:
                self.source = _read_v1(whole[: size - 2])
        else:
            raise ProxyHeaderError("no PROXY header")
        self._data = whole[:size] if self.source is not None else whole
        return len(self._data) - before


def _v1_size(data: bytes) -> int:
    """The length of the line with its end, 0 when the end is not there yet."""
    end = data.find(b"\r\n", 0, V1_BYTES_MAX)
    if end < 0 and len(data) >= V1_BYTES_MAX:
        raise ProxyHeaderError("a PROXY line without an end")
    return end + 2 if end >= 0 else 0


def _read_v1(line: bytes) -> Source:
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyHeaderError("a PROXY line that is not ASCII") from None
    if words[1] == "UNKNOWN":
        return Source()
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProxyHeaderError("a PROXY line of another form")
    version = int(words[1][3])
    source, _ = [_address(word, version) for word in words[2:4]]
    port, _ = [_port(word) for word in words[4:]]
    return Source(source, port)


def _address(word: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        raise ProxyHeaderError("a PROXY line with something that is no address") from None
    if address.version != version or "%" in word:
        raise ProxyHeaderError("a PROXY line with an address of another family")
    return str(address)


def _port(word: str) -> int:
    """A port without sign or leading zeros."""
    if not (word.isascii() and word.isdigit() and len(word) <= 5) or (word[0] == "0" and word != "0"):
        raise ProxyHeaderError("a PROXY line with something that is no port")
    port = int(word)
    if port > 65_535:
        raise ProxyHeaderError("a PROXY line with something that is no port")
    return port


def _v2_size(data: bytes) -> int:
    """The length that the header announces, 0 when that is not there yet."""
    if len(data) < _V2_HEADER.size:
        return 0
    _, command, _, length = _V2_HEADER.unpack_from(data)
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ProxyHeaderError("a PROXY header of another version or command")
    size = _V2_HEADER.size + int(length)
    if size > V2_BYTES_MAX:
        raise ProxyHeaderError("a PROXY header that is too long")
    return size


def _read_v2(data: bytes) -> Source:
    _, command, family, _ = _V2_HEADER.unpack_from(data)
    rest = data[_V2_HEADER.size :]
    if command == _V2_LOCAL:
        # The proxy's own connection, a health check; whatever it adds means nothing.
        return Source()
    if family == _V2_UNSPECIFIED:
        return Source()
    if family == _V2_UNIX:
        if len(rest) < _V2_UNIX_BYTES:
            raise ProxyHeaderError("a PROXY header without its addresses")
        _skip_extensions(rest[_V2_UNIX_BYTES:])
        return Source()
    layout = _V2_INTERNET.get(family)
    if layout is None:
        raise ProxyHeaderError("a PROXY header of a family that is not TCP")
    if len(rest) < layout.size:
        raise ProxyHeaderError("a PROXY header without its addresses")
    source, _, port, _ = layout.unpack_from(rest)
    _skip_extensions(rest[layout.size :])
    return Source(str(ipaddress.ip_address(source)), port)


def _skip_extensions(data: bytes) -> None:
    """Type, length, value, up to the end: none is needed, but they must be what they say."""
    at = 0
    while at < len(data):
        if len(data) - at < _V2_EXTENSION.size:
            raise ProxyHeaderError("a PROXY header with half an extension")
        _, length = _V2_EXTENSION.unpack_from(data, at)
        at += _V2_EXTENSION.size + length
    if at > len(data):
        raise ProxyHeaderError("a PROXY header with half an extension")
