"""Inputs by hand, for what no message holds and for rules that a count of covered edges does not tell apart.

They stay in the corpus whatever they cover.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pamqp.commands
import pamqp.encode
import pamqp.frame

from fuzz.oracles.methods import READERS
from fuzz.targets.conversations import examples
from fuzz.targets.messages import POLICIES, signed_messages
from sealgate.reason import Reason
from sealgate.signing.material import generate_ed25519, generate_hmac
from sealgate.wire.methods import encode_challenge_entry
from support.vectors import VECTORS
from support.wire_bytes import content_header, entry, headers_only, long, nested

_SECRET = hashlib.sha256(b"a secret that everybody may know").digest()

#: For each rule that is stricter than all three libraries, a header that shows it.
STRICTLY_REFUSED: dict[Reason, bytes] = {
    Reason.HEADER_DUPLICATE: headers_only(entry("k", "V") * 2),
    Reason.SIG_DUPLICATE: headers_only(entry("x-seal", "S", long(b"a")) * 2),
    Reason.HEADER_KEY: headers_only(entry("", "V")),
    Reason.HEADER_TRUNCATED: headers_only(entry("k", "S", struct.pack(">I", 100) + b"abc")),
    Reason.HEADER_DEPTH: headers_only(nested(9)),
    Reason.HEADER_COUNT: headers_only(b"".join([entry(f"{n:x}", "V") for n in range(257)])),
    Reason.HEADER_SIZE: headers_only(entry("k", "S", long(bytes(70_000)))),
    Reason.HEADER_X_DELAY: headers_only(entry("x-delay", "l", struct.pack(">q", -(2**63)))),
    Reason.PROPS_FLAGS: content_header(2),
    Reason.PROPS_UTF8: content_header(0x8000, b"\x01\x00"),
    Reason.PROPS_TRUNCATED: content_header(0x8000, b"\x01ab"),
    Reason.FRAME_CLASS: content_header(weight=1),
}
_JSON = (
    b'{"a":1,"a":2}',
    b"[NaN]",
    b"[-Infinity]",
    b"[1e999]",
    b'{"py/object":"os.system"}',
    b'["\xff"]',
    b'["\\ud800"]',
    b'{"__type__":"uuid","__value__":{"hex":"b3f359bdb8c54497848ca9ef77163319"}}',
    b'{"__type__":"datetime","__value__":"2026-01-01T00:00:00+00:00"}',
    b'{"__type__":"decimal","__value__":"1.5"}',
    b'{"__type__":"base64","__value__":"YQ=="}',
    b'{"__type__":"nope","__value__":1}',
    b'"\\u0067AIu"',
)


def by_hand() -> Iterator[tuple[str, bytes]]:
    """(target, input) of every one."""
    yield from _of_vectors()
    yield from _of_tokens()
    yield from _of_changes()
    yield from _of_streams()
    yield from _of_methods()
    yield from _of_files()
    for conversation in examples():
        yield "session", conversation
    for message in range(4):
        for choice in (0, 4, 8, 12, 16, 32, 64, 128):
            yield "memory", bytes((message, 0, 0, choice, 1, choice | 1, 8, 5, 1, 1, choice | 2, 9, 3, 4))
            yield "memory", bytes((message, choice % 3, 1, 12, choice // 16, 4, 12, choice % 8, 20, 5, 6, 1))
    for payload in STRICTLY_REFUSED.values():
        if len(payload) < 2048:
            yield "header", payload
            yield "table", payload[18:]
    for body in _JSON:
        yield "json", b"\x00" + body
        yield "json", b"\x01" + body


def _of_vectors() -> Iterator[tuple[str, bytes]]:
    for vector in VECTORS.values():
        yield "header", vector.content_header
        yield "token", vector.token


def _of_tokens() -> Iterator[tuple[str, bytes]]:
    """A right token with one field wrong, each in turn."""
    right = VECTORS["celery-v2"].token.split(b".")
    wrong: dict[int, tuple[bytes, ...]] = {
        0: (b"seal2", b"", b"SEAL1"),
        1: (b"", b"k" * 64, b"k" * 65, b"k.1", b"k 1"),
        2: (b"0", b"01", b"-1", b"1_0", right[3], b"9" * 13),
        3: (b"0", right[2], b"9" * 12, b"+1", b"\xd9\xa1"),
        4: (
            b"A" * 20,
            b"A" * 21,
            b"A" * 22,
            b"A" * 23,
            b"A" * 32,
            b"A" * 34,
            b"A" * 21 + b"B",
            b"A" * 22 + b"==",
        ),
        5: (b"c2", b""),
        6: (b"", b"AQA", b"AQACAA", b"AQACAAMA", b"AQACAAQA", b"AQACAAAA", b"AQH_AgA", b"AgABAA"),
        7: (b"", b"AA", b"AB", b"AAA", b"AAB", b"A+A/"),
    }
    for place, values in wrong.items():
        for value in values:
            yield "token", b".".join([*right[:place], value, *right[place + 1 :]])


def _of_changes() -> Iterator[tuple[str, bytes]]:
    """Every signed message as it is, and after each single change of a kind."""
    for number in range(len(signed_messages())):
        for policy in range(len(POLICIES)):
            yield "verifier", bytes((number, policy, 0))
        yield "verifier", bytes((number, 4, 1))
        for change in range(12):
            yield "verifier", bytes((number, 4, 0, change, 1, 2, 3, 4, 5, 6))
        for text in range(4):
            yield "verifier", bytes((number, 4, 0, 6, text))
            yield "verifier", bytes((number, 4, 0, 7, text))
    for index in range(14):
        yield "verifier", bytes((2, 4, 0, 8, index, 0))
        yield "verifier", bytes((2, 4, 0, 8, index, 1, 1, 0x61))
        for at in (index, index + 7):
            yield "verifier", bytes((1, 4, 0, 10, at, 3))
            yield "verifier", bytes((1, 4, 0, 9, 0, at, 0))


def _of_streams() -> Iterator[tuple[str, bytes]]:
    """Compressed bodies: whole, cut, with something behind them, twice, and far larger than they look."""
    text = b'[[2, 3], {}, {"callbacks": null}]' * 3
    huge = bytes(200_000)
    for number, compress in enumerate((zlib.compress, bz2.compress, lzma.compress)):
        whole = compress(text)
        for stream in (
            whole,
            whole[:-1],
            whole[:9],
            whole + b"x",
            whole + whole,
            compress(b""),
            compress(huge),
        ):
            yield "inflate", bytes((number,)) + stream
        yield "inflate", bytes((number,)) + compress(bytes(65_536))
    alone = lzma.compress(text, lzma.FORMAT_ALONE)
    dictionary = b"\x5d" + struct.pack("<IQ", 2**32 - 1, 2**64 - 1) + alone[13:]
    without_end = alone[:5] + struct.pack("<Q", len(text)) + alone[13:]
    for stream in (alone, dictionary, without_end):
        yield "inflate", b"\x02" + stream
    raw = zlib.compressobj(wbits=31)
    yield "inflate", b"\x00" + raw.compress(text) + raw.flush()


def _of_methods() -> Iterator[tuple[str, bytes]]:
    commands = pamqp.commands
    server = {"product": "RabbitMQ", "capabilities": {"publisher_confirms": True, "basic.nack": True}}
    client = {"product": "py-amqp", "platform": "x", "capabilities": {"basic.nack": True}}
    # pamqp's own annotations ask for every argument.
    methods: list[Any] = [
        commands.Basic.Publish(exchange="celery", routing_key="celery", mandatory=True),
        commands.Connection.Start(0, 9, server, "PLAIN AMQPLAIN", "en_US"),
        commands.Connection.StartOk(client, "PLAIN", "\x00guest\x00guest", "en_US"),
        commands.Connection.Tune(2047, 131072, 60),
        commands.Connection.TuneOk(2047, 131072, 60),
        commands.Connection.Open("/"),
        commands.Basic.Ack(7, True),
        commands.Basic.Nack(7, True, False),
        commands.Basic.Return(312, "NO_ROUTE", "e", "k"),
        commands.Connection.UpdateSecret("secret", "because"),
        commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0),
        commands.Channel.Close(403, "ACCESS_REFUSED - sealgate: sig.missing", 60, 40),
    ]
    numbers = {reader.method: number for number, reader in enumerate(READERS)}
    for method in methods:
        payload = pamqp.frame.marshal(method, 1)[7:-1]
        yield "methods", bytes((numbers[int.from_bytes(payload[:4], "big")],)) + payload[4:]
    offered = encode_challenge_entry(bytes(16))
    start = (
        b"\x00\x09" + struct.pack(">I", len(offered)) + offered + struct.pack(">I", 5) + b"PLAIN" + bytes(4)
    )
    yield "methods", bytes((1,)) + start
    login = pamqp.encode.field_table({"LOGIN": "guest", "PASSWORD": "guest"})
    for mechanism, response in ((b"AMQPLAIN", login), (b"PLAIN", b"\x00\x00\x00\x05\x00u\x00pw")):
        yield "methods", b"\x02" + bytes(4) + bytes((len(mechanism),)) + mechanism + response + b"\x05en_US"


def _of_files() -> Iterator[tuple[str, bytes]]:
    private, public = generate_ed25519(_SECRET)
    secret = generate_hmac(_SECRET)
    for kind in range(3):
        for text in (secret, private, public):
            yield "material", bytes((kind,)) + text.encode()
        yield "material", bytes((kind,)) + b"hex:" + _SECRET.hex().encode()
    for text in ("30s", "5m", "24h", "7d", "0d", "1.5h"):
        yield "material", b"\x00" + text.encode()
    entries = (
        'kid = "k1"\nalg = "hmac-sha256"\nsecret = "env:A"\n',
        f'kid = "k1"\nalg = "hmac-sha256"\nsecret = "{secret}"\nstate = "verify"\nmax_lifetime = "7d"\n',
        f'kid = "e1"\nalg = "ed25519"\npublic = "{public}"\nnot_before = 2026-01-01T00:00:00Z\n',
        'kid = "e2"\nalg = "ed25519"\nprivate = "env:E"\nnot_after = "2027-01-01T00:00:00+01:00"\n',
        'kid = "k3"\nalg = "hmac-sha256"\nsecret = "env:none"\ntasks = ["a"]\nclasses = ["event"]\n',
        'kid = "no kid"\nalg = "rsa"\nstate = "gone"\nmax_lifetime = "999d"\nusers = "app"\nkidd = 1\n',
    )
    for text in (*entries, "".join([f"[[key]]\n{lines}" for lines in entries[1:]])):
        yield "keyfile", f"[[key]]\n{text}".encode()
    for text in ("key = 1", "[key]\nkid = 1", "key = []", "other = 1", "[[key]]\nkid = 1\nkid = 2"):
        yield "keyfile", text.encode()
    head = b"sealgate-journal-1 b1 0"
    line = b"1767226000 %b %b" % (b"6b3a6e", b"00" * 32)
    for boot in (b"b1", b"b2"):
        whole = b"\n".join((head.replace(b"b1", boot), line, line.replace(b"6b", b"6c"), b"closed"))
        yield "journal", b"\x01" + whole
        yield "journal", b"\x00" + whole
        yield "journal", b"\x01" + whole.removesuffix(b"\nclosed")
    for pickled in (
        b"\x80\x04K\x01.",
        b"\x80\x04C\x03\xfb\xef\xff.",
        b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
        b"I1\n.",
    ):
        for form in (0, 4, 8, 0x84, 0x88):
            yield "pickles", bytes((form,)) + pickled.removeprefix(b"\x80\x04")
    for packed in (
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x93\x90\x80\x81\xa1a\xc0",
        b"\xca\x00\x00\x00\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xdc\x00\x01\xc3",
    ):
        yield "msgpack", packed
