"""Rows CT of hostile.jsonl: content types, encodings, compression, and what bodies turn out to be."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import pickle
import struct
import zlib

import msgpack

from support.hostile_catalogue import Rows
from support.hostile_publish import Draft
from support.hostile_rows import as_json, task_body
from support.sealed import BODY, EMBED, task_headers

ROWS = Rows()
JSON = b"application/json"
TASK = [[2, 3], {}, EMBED]
BODY_BYTES_MAX = 4_194_304


def typed(kind: bytes, body: bytes, encoding: bytes | None = None) -> Draft:
    return Draft(body, properties={0: kind} if encoding is None else {0: kind, 1: encoding})


def compressed(name: object, body: bytes) -> Draft:
    return Draft(body, task_headers(compression=name))


ROWS.drafts(
    "CT01",
    "pickle protocol 4, content_type application/x-python-serialize",
    typed(b"application/x-python-serialize", pickle.dumps(TASK, 4), b"binary"),
)
PICKLES = [Draft(pickle.dumps(TASK, protocol)) for protocol in range(6)]
ROWS.drafts("CT02", "pickle protocols 0-5, content_type application/json", *PICKLES)
ROWS.drafts(
    "CT04",
    "pickle, content_type application/octet-stream",
    typed(b"application/octet-stream", pickle.dumps(TASK)),
)
ROWS.drafts(
    "CT05",
    "pickle, no content_type (dramatiq PickleEncoder)",
    Draft(pickle.dumps({"actor_name": "a"}), headers={}, properties={}),
    gate="dramatiq",
)
ROWS.drafts(
    "CT06",
    "base64 of a pickle inside a JSON string argument",
    Draft(task_body([base64.b64encode(pickle.dumps({"a": 1})).decode()])),
)
NO_TYPE = "no content_type, celery profile"
ROWS.drafts("CT07", NO_TYPE, Draft(properties={}))
ROWS.drafts("CT07", NO_TYPE, Draft(properties={}), gate="no-type")
ROWS.drafts(
    "CT08",
    "application/data + content_encoding bz2, 113 B -> 100 MB",
    typed(b"application/data", bz2.compress(bytes(100_000_000)), b"bz2"),
)
ROWS.drafts("CT10", "application/json + content_encoding zip", typed(JSON, BODY, b"zip"))
ROWS.drafts(
    "CT11",
    "application/json + content_encoding utf-16",
    typed(JSON, json.dumps(TASK).encode("utf-16"), b"utf-16"),
)
ROWS.drafts("CT13", "Application/JSON", typed(b"Application/JSON", BODY))
ROWS.drafts("CT15", '"application/json; charset=utf-8"', typed(b"application/json; charset=utf-8", BODY))
ROWS.drafts("CT17", "application/json without content_encoding", typed(JSON, BODY))
ROWS.drafts(
    "CT18",
    "compression header zlib, 10 KB -> 10 MB",
    compressed("zlib", zlib.compress(as_json([["0" * 10_485_760], {}, EMBED]))),
    gate="compressed",
)
HUGE_DICTIONARY = (
    b"\x5d" + struct.pack("<IQ", 2**32 - 1, 2**64 - 1) + lzma.compress(BODY, lzma.FORMAT_ALONE)[13:]
)
ROWS.drafts(
    "CT19",
    "compression header application/x-lzma with 4 GiB dictionary",
    compressed("application/x-lzma", HUGE_DICTIONARY),
    gate="compressed",
)
PACKED = zlib.compress(BODY)
ROWS.drafts("CT20", "compression header brotli", compressed("brotli", PACKED), gate="compressed")
ROWS.drafts("CT21", 'compression header "nope"', compressed("nope", PACKED), gate="compressed")
ROWS.drafts("CT22", "compression header of type int", compressed(7, PACKED), gate="compressed")
THRICE = as_json([["".join(f"{number:03x}" for number in range(300))], {}, EMBED])
ROWS.drafts(
    "CT24",
    "valid zlib JSON, ratio 3, zlib listed",
    compressed("application/x-gzip", zlib.compress(THRICE)),
    compressed("zlib", zlib.compress(THRICE)),
    gate="compressed",
)
ROWS.drafts(
    "CT25",
    "JSON with duplicate keys at any depth",
    Draft(b'{"a":1,"a":2}'),
    Draft(b'[[{"x":{"a":1,"a":1}}],{},{}]'),
)
ROWS.drafts("CT26", "JSON NaN", Draft(b"[[NaN],{},{}]"), Draft(b"[[-Infinity],{},{}]"))
ROWS.drafts("CT28", "JSON invalid UTF-8", Draft(b'[["\xff"],{},{}]'))
ROWS.drafts("CT30", "JSON integer with 5,000 digits", Draft(b"[[%s],{},{}]" % (b"1" * 5000)))
ROWS.drafts("CT32", 'JSON lone surrogate "\\ud800"', Draft(b'[["\\ud800"],{},{}]'))
ROWS.drafts(
    "CT33",
    'JSON {"__type__":"nope","__value__":1}, celery profile',
    Draft(task_body([{"__type__": "nope", "__value__": 1}])),
)
ROWS.drafts(
    "CT34",
    'JSON {"__type__":"datetime",...}',
    Draft(task_body([{"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"}])),
)
REDUCE = {"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["id"]}]}
GADGET = 'JSON {"py/reduce": [...]}'
ROWS.drafts("CT35", GADGET, Draft(task_body([REDUCE])))
ROWS.drafts("CT35", GADGET, Draft(as_json(REDUCE), headers={}), gate="generic")
MSGPACK = b"application/x-msgpack"
ROWS.drafts(
    "CT37",
    "msgpack followed by one byte",
    typed(MSGPACK, msgpack.packb(TASK) + b"\x00", b"binary"),
    gate="msgpack",
)
ROWS.drafts(
    "CT38",
    "msgpack Celery body, msgpack listed",
    typed(MSGPACK, msgpack.packb(TASK), b"binary"),
    gate="msgpack",
)
ROWS.drafts(
    "CT39",
    "YAML !!python/object/apply:os.system",
    typed(b"application/x-yaml", b"!!python/object/apply:os.system ['id']"),
)
ROWS.drafts("CT40", "body one byte over max_body", Draft(BODY.ljust(BODY_BYTES_MAX + 1)), on_header=True)
ROWS.drafts("CT41", "body exactly max_body", Draft(BODY.ljust(BODY_BYTES_MAX)))
ROWS.drafts("CT43", "top-level JSON number 0.5 (generic profile)", Draft(b"0.5", headers={}), gate="generic")
