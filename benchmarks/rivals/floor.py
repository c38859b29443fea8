"""The floor of issue and README: uvcopy, plus the hashes of seal1 and one msgspec.json.decode of each body.

For each message: SHA-256 over as many octets as sections P and H and the body have, HMAC-SHA-256 by pre-keyed
copies over as many as the signing input has, and the decoding of the body. All over the message's own octets,
which pass as they come, whatever the hashes say. Where a message begins is known from its fixed length: the
stream of messages starts with the first chunk that begins with a basic.publish.

usage: python floor.py LISTEN_PORT UPSTREAM_PORT LAYOUT
LAYOUT: JSON object with message, body_spans, section_p, section_h, signing_input; in octets
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Sequence

import msgspec
import uvloop

from uvcopy import ClientLeg

COPIED_BYTES_MAX = 8192
_PUBLISH = b"\x00\x3c\x00\x28"


class Keyed:
    """HMAC-SHA-256 by two pre-keyed hashes, RFC 2104."""

    def __init__(self, secret: bytes) -> None:
        block = secret.ljust(64, b"\0")
        self.inner = hashlib.sha256(bytes(octet ^ 0x36 for octet in block))
        self.outer = hashlib.sha256(bytes(octet ^ 0x5C for octet in block))


class Work:
    """What is done for each message."""

    def __init__(self, layout: dict[str, object], secret: bytes) -> None:
        spans = layout["body_spans"]
        sizes = [layout[name] for name in ("message", "section_p", "section_h", "signing_input")]
        assert isinstance(spans, list) and all(isinstance(size, int) for size in sizes)
        self.message, self.section_p, self.section_h, self.signing_input = map(int, map(str, sizes))
        self.spans: list[tuple[int, int]] = [(start, end) for start, end in spans]
        self.keyed = Keyed(secret)
        self.decode = msgspec.json.decode

    def all_of(self, data: bytes, at: int) -> int:
        """Every whole message of `data` from `at` on; where the next one begins."""
        sha256, decode = hashlib.sha256, self.decode
        copy_inner, copy_outer = self.keyed.inner.copy, self.keyed.outer.copy
        message, p, h, covered = self.message, self.section_p, self.section_h, self.signing_input
        (start, end), more = self.spans[0], self.spans[1:]
        # Looking into small bodies costs more than copying them.
        bodies = memoryview(data) if message > COPIED_BYTES_MAX else data
        last = len(data) - message
        while at <= last:
            body = bodies[at + start : at + end]
            if more:
                body = b"".join([body, *(bodies[at + left : at + right] for left, right in more)])
            sha256(data[at : at + p]).digest()
            sha256(data[at : at + h]).digest()
            sha256(body).digest()
            inner, outer = copy_inner(), copy_outer()
            inner.update(data[at : at + covered])
            outer.update(inner.digest())
            outer.digest()
            decode(body)
            at += message
        return at

    def one_of(self, chunks: Sequence[bytes | memoryview]) -> None:
        """The message that these chunks are; a large body is joined once, from what came."""
        if self.message <= COPIED_BYTES_MAX:
            self.all_of(b"".join(chunks), 0)
            return
        head, parts, at = chunks[0], [], 0
        if len(head) < max(self.section_p, self.section_h, self.signing_input):
            head = b"".join(chunks)
        for chunk in chunks:
            view = memoryview(chunk)
            parts += [view[max(start - at, 0) : max(end - at, 0)] for start, end in self.spans]
            at += len(chunk)
        body = b"".join(parts)
        hashlib.sha256(head[: self.section_p]).digest()
        hashlib.sha256(head[: self.section_h]).digest()
        hashlib.sha256(body).digest()
        inner, outer = self.keyed.inner.copy(), self.keyed.outer.copy()
        inner.update(head[: self.signing_input])
        outer.update(inner.digest())
        outer.digest()
        self.decode(body)


class FloorLeg(ClientLeg):
    def __init__(self, upstream_port: int, work: Work) -> None:
        super().__init__(upstream_port)
        self.work = work
        self.publishing = False
        self.rest: list[bytes | memoryview] = []
        self.rest_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.publishing:
            self.publishing = data[7:11] == _PUBLISH
            if not self.publishing:
                return
        if self.rest_bytes:
            missing = self.work.message - self.rest_bytes
            if len(data) < missing:
                self.rest.append(data)
                self.rest_bytes += len(data)
                return
            self.work.one_of([*self.rest, memoryview(data)[:missing]])
            at = self.work.all_of(data, missing)
        else:
            at = self.work.all_of(data, 0)
        self.rest = [memoryview(data)[at:]]
        self.rest_bytes = len(data) - at


async def main(listen_port: int, upstream_port: int, layout: dict[str, object]) -> None:
    loop = asyncio.get_running_loop()
    work = Work(layout, b"0123456789abcdef0123456789abcdef")
    server = await loop.create_server(lambda: FloorLeg(upstream_port, work), "127.0.0.1", listen_port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
