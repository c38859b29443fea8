"""Addresses as texts."""

from __future__ import annotations


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 9672) from "127.0.0.1:9672", ("::1", 9672) from "[::1]:9672".

    Raises `ValueError` when it is not host:port.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{address!r}: an IPv6 address goes in brackets")
    return host, int(port)
