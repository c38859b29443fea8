"""The bodies of hostile.jsonl: types, encodings, compression, and what they turn out to be."""

from __future__ import annotations

import base64
import json
import lzma
import pickle
import struct
import zlib
from typing import Any

import msgpack
import pytest

from support.hostile_rows import GENERIC, Case, Rows, as_json, task_body
from support.sealed import (
    BODY,
    EMBED,
    a_message,
    a_policy,
    rules,
    task_headers,
)

HOSTILE = Rows("CT")
JSON = b"application/json"
ZLIB = a_policy(content=rules("celery", "application/json", compression=("application/x-gzip",)))
MSGPACK = a_policy(content=rules("celery", "application/json", "application/x-msgpack"))

PICKLED = [[2, 3], {}, EMBED]
HOSTILE.typed("CT01", b"application/x-python-serialize", pickle.dumps(PICKLED, 4), b"binary")
for protocol in range(6):
    HOSTILE.body("CT02", pickle.dumps(PICKLED, protocol))
HOSTILE.typed("CT04", b"application/octet-stream", pickle.dumps(PICKLED))
HOSTILE.message(
    "CT05",
    lambda: a_message(pickle.dumps({"actor_name": "a"}), headers={}, properties={}),
    policy=a_policy(content=rules("dramatiq", "")),
)
HOSTILE.body("CT06", task_body([base64.b64encode(pickle.dumps({"a": 1})).decode()]))
HOSTILE.message("CT07", lambda: a_message(properties={}))
HOSTILE.message(
    "CT07", lambda: a_message(properties={}), policy=a_policy(content=rules("celery", "application/json", ""))
)
HOSTILE.typed("CT08", b"application/data", b"BZh9" + bytes(109), b"bz2")
HOSTILE.typed("CT10", JSON, BODY, b"zip")
HOSTILE.typed("CT11", JSON, json.dumps(PICKLED).encode("utf-16"), b"utf-16")
HOSTILE.typed("CT13", b"Application/JSON", BODY)
HOSTILE.typed("CT15", b"application/json; charset=utf-8", BODY)
HOSTILE.typed("CT17", JSON, BODY)


def add_compressed(row: str, name: object, body: bytes, **judging: Any) -> None:
    HOSTILE.message(row, lambda: a_message(body, task_headers(compression=name)), **judging)


add_compressed("CT18", "zlib", zlib.compress(as_json([["0" * 10_485_760], {}, EMBED])), policy=ZLIB)
HUGE_DICTIONARY = (
    b"\x5d" + struct.pack("<IQ", 2**32 - 1, 2**64 - 1) + lzma.compress(BODY, lzma.FORMAT_ALONE)[13:]
)
add_compressed(
    "CT19",
    "application/x-lzma",
    HUGE_DICTIONARY,
    policy=a_policy(content=rules(compression=("application/x-lzma",))),
)
for row, name in (("CT20", "brotli"), ("CT21", "nope"), ("CT22", 7)):
    add_compressed(row, name, zlib.compress(BODY), policy=ZLIB)
THRICE = as_json([["".join(f"{n:03x}" for n in range(300))], {}, EMBED])
for name in ("application/x-gzip", "zlib"):
    add_compressed("CT24", name, zlib.compress(THRICE), policy=ZLIB)
for body in (b'{"a":1,"a":2}', b'[[{"x":{"a":1,"a":1}}],{},{}]'):
    HOSTILE.body("CT25", body)
for body in (b"[[NaN],{},{}]", b"[[-Infinity],{},{}]"):
    HOSTILE.body("CT26", body)
HOSTILE.body("CT28", b'[["\xff"],{},{}]')
HOSTILE.body("CT30", b"[[%s],{},{}]" % (b"1" * 5000))
HOSTILE.body("CT32", b'[["\\ud800"],{},{}]')
HOSTILE.body("CT33", task_body([{"__type__": "nope", "__value__": 1}]))
HOSTILE.body("CT34", task_body([{"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"}]))
HOSTILE.body("CT35", task_body([{"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["id"]}]}]))
HOSTILE.body("CT35", as_json({"py/reduce": []}), policy=GENERIC)


def add_msgpack(row: str, body: bytes) -> None:
    HOSTILE.typed(row, b"application/x-msgpack", body, b"binary", policy=MSGPACK)


add_msgpack("CT37", msgpack.packb(PICKLED) + b"\x00")
add_msgpack("CT38", msgpack.packb(PICKLED))
HOSTILE.typed("CT39", b"application/x-yaml", b"!!python/object/apply:os.system ['id']")
for row, over in (("CT40", 1), ("CT41", 0)):
    limit = a_policy(body_bytes_max=len(BODY))
    HOSTILE.message(row, lambda over=over: a_message(BODY + b" " * over), policy=limit)
HOSTILE.message("CT43", lambda: a_message(b"0.5", headers={}), policy=GENERIC)


@pytest.mark.parametrize(("row", "run"), HOSTILE.parameters())
def test_hostile_row_gets_its_verdict(row: str, run: Case) -> None:
    HOSTILE.check(row, run)


def test_every_row_of_these_families_has_a_case() -> None:
    HOSTILE.check_complete()
