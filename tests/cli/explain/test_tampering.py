"""`explain` names what was changed on a sealed message, with and without the original beside it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sealgate.signing.algorithms import Ed25519
from sealgate.signing.keyring import Key
from sealgate.signing.material import MaterialKind, format_material
from sealgate.verify.message import Message
from sealgate.wire.properties import CONTENT_TYPE, CORRELATION_ID, DELIVERY_MODE, PRIORITY
from support.explained import KEY, captured, explained
from support.sealed import (
    BODY,
    JSON_HEADER,
    a_message,
    received,
    seal,
    sealed,
    table,
    task_headers,
    with_token,
)
from support.wire_bytes import entry, long

PROPERTIES = {**JSON_HEADER, DELIVERY_MODE: b"\x02", PRIORITY: b"\x03", CORRELATION_ID: b"b3f359bd"}
PRIVATE = sha256(b"a private key").digest()
FLOAT = {"weight": 0.1, "ratio": 2.5, "third": 0.3}


@dataclass(frozen=True)
class Tampering:
    """`changed` is sent under the seal of `original`; `section` and `name` are what differs."""

    section: str
    name: str
    changed: Message
    original: Message = field(default_factory=a_message)
    verdict: str = "sig.bad"
    options: tuple[str, ...] = ()


def headers(**changes: object) -> Message:
    return a_message(headers=task_headers(**changes))


def properties(**changes: bytes) -> Message:
    named = {"content_type": CONTENT_TYPE, "priority": PRIORITY, "delivery_mode": DELIVERY_MODE}
    named["correlation_id"] = CORRELATION_ID
    return a_message(properties={**PROPERTIES, **{named[name]: value for name, value in changes.items()}})


def elsewhere(**target: str) -> Message:
    message = a_message()
    kept: dict[str, Any] = {"exchange": message.exchange, "routing_key": message.routing_key}
    return received(message.header.payload, message.body, **{**kept, **target})


def narrowed() -> bytes:
    """What `FLOAT` becomes in a library that writes each double as a float."""
    return b"".join([entry(name, "f", struct.pack(">f", value)) for name, value in FLOAT.items()])


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes((data[at] ^ 1 << bit % 8,)) + data[at + 1 :]


def without(name: str) -> Message:
    return headers(**{name: ...})


TIMED = {"timelimit": [30, 20]}
CASES: dict[str, Tampering] = {
    # Rows of hostile.jsonl.
    "SG18 body": Tampering("body", "", a_message(BODY.replace(b"2", b"0"))),
    "SG19 content type": Tampering(
        "properties", "content_type", properties(content_type=b"text/plain"), properties()
    ),
    "SG20 task": Tampering("headers", "task", headers(task="app.evil"), options=("--task", "app.add")),
    "SG21 header added": Tampering("headers", "extra", headers(extra="x")),
    "SG22 header removed": Tampering("headers", "argsrepr", without("argsrepr")),
    "SG26 priority": Tampering("properties", "priority", properties(priority=b"\x09"), properties()),
    "SG27 routing key": Tampering(
        "target", "routing_key", elsewhere(routing_key="x"), verdict="target.mismatch"
    ),
    "SG28 exchange": Tampering("target", "exchange", elsewhere(exchange="x"), verdict="target.mismatch"),
    "SG45 retry": Tampering("headers", "retries", headers(retries=1)),
    # What issue 2 calls one bit flipped.
    "bit of the body": Tampering("body", "", a_message(flipped(BODY, 100))),
    "bit of a header": Tampering("headers", "origin", headers(origin="gen1@hosu")),
    "bit of a header's name": Tampering("headers", "orhgin", headers(origin=..., orhgin="gen1@host")),
    "bit of a property": Tampering(
        "properties",
        "correlation_id",
        properties(correlation_id=b"b3f359be"),
        properties(correlation_id=b"b3f359bd"),
    ),
    # Other ways in which a header comes to differ.
    "property added": Tampering(
        "properties",
        "priority",
        properties(),
        a_message(properties={**JSON_HEADER, DELIVERY_MODE: b"\x02", CORRELATION_ID: b"b3f359bd"}),
    ),
    "property removed": Tampering("properties", "content_type", a_message(properties={1: b"utf-8"})),
    "delivery mode": Tampering(
        "properties", "delivery_mode", properties(delivery_mode=b"\x01"), properties()
    ),
    "removed, void": Tampering("headers", "eta", without("eta")),
    "removed, list": Tampering("headers", "timelimit", without("timelimit")),
    "removed, table": Tampering("headers", "stamps", without("stamps")),
    "removed, id": Tampering("headers", "root_id", without("root_id")),
    "id swapped": Tampering("headers", "root_id", headers(root_id="2f6cd0d6-5c04-44ff-9b1a-000000000000")),
    "integer became text": Tampering("headers", "retries", headers(retries="0")),
    "boolean became integer": Tampering("headers", "ignore_result", headers(ignore_result=0)),
    "integer became double": Tampering(
        "headers", "replaced_task_nesting", headers(replaced_task_nesting=0.0)
    ),
    "void became text": Tampering("headers", "shadow", headers(shadow="")),
    "text became bytes": Tampering("headers", "lang", headers(lang=b"py")),
    "integer lost its high bits": Tampering("headers", "n", headers(n=-1), headers(n=2**32 - 1)),
    "double became float": Tampering(
        "headers",
        "weight",
        a_message(raw_entries=entry("weight", "f", struct.pack(">f", 0.1))),
        headers(weight=0.1),
    ),
    "doubles became floats": Tampering(
        "headers", "weight, third", a_message(raw_entries=narrowed()), headers(**FLOAT)
    ),
    "timestamp became integer": Tampering(
        "headers",
        "sent",
        headers(sent=1_700_000_000),
        a_message(raw_entries=entry("sent", "T", struct.pack(">Q", 1_700_000_000))),
    ),
    "list sorted": Tampering("headers", "names", headers(names=["a", "b"]), headers(names=["b", "a"])),
    "within a list": Tampering("headers", "timelimit", headers(timelimit=["30", 20]), headers(**TIMED)),
    "within a table": Tampering("headers", "stamps", headers(stamps={"a": None}), headers(stamps={})),
    "two headers added": Tampering(
        "headers", "traceparent, tracestate", headers(traceparent="a", tracestate="b")
    ),
    "body re-encoded": Tampering(
        "body", "", a_message(json.dumps(json.loads(BODY), separators=(",", ":")).encode())
    ),
    "line end": Tampering("body", "", a_message(BODY + b"\n")),
}


def tampered(case: Tampering, key: Key = KEY) -> Message:
    return with_token(case.changed, seal(case.original, key))


def test_undoing_half_of_the_retyped_doubles_is_not_enough() -> None:
    """`ratio` is a double that a float holds exactly: its value never changed, so it is not named."""
    assert struct.unpack(">f", struct.pack(">f", FLOAT["ratio"]))[0] == FLOAT["ratio"]


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_named_without_the_original(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    values = explained(captured(tmp_path, tampered(case)), *case.options)
    assert values["verdict"] == case.verdict
    if case.verdict == "target.mismatch":
        target = next(step for step in values["checks"] if step["name"] == "target")
        assert case.name.replace("_", " ") in target["detail"]
        assert target["saw"] != target["wanted"]
        return
    assert [(found["section"], found["name"]) for found in values["differences"]] == [
        (case.section, case.name)
    ]


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_named_from_the_original(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    original = captured(tmp_path, sealed(case.original, key=KEY), "original.hex")
    values = explained(captured(tmp_path, tampered(case)), "--original", original)
    assert values["verdict"] == case.verdict
    found = {(difference["section"], difference["name"]) for difference in values["differences"]}
    wanted = {(case.section, part) for part in case.name.split(", ")}
    if name == "bit of a header's name":
        wanted.add(("headers", "origin"))
    assert found == wanted


def test_other_vhost_is_named(tmp_path: Path) -> None:
    file = captured(tmp_path, sealed(vhost="/", key=KEY))
    values = explained(file, "--vhost", "/b")
    assert (values["verdict"], values["differences"][0]["name"]) == ("sig.bad", "vhost")
    assert '"/" when it was signed' in values["differences"][0]["what"]


def test_other_deployment_is_named(tmp_path: Path) -> None:
    values = explained(captured(tmp_path, sealed(deployment="staging", key=KEY)))
    assert (values["verdict"], values["differences"][0]["name"]) == ("sig.bad", "deployment")


def test_secret_of_another_key_is_named(tmp_path: Path) -> None:
    pair = Ed25519.of_private(PRIVATE)
    private = format_material(MaterialKind.ED25519_PRIVATE, PRIVATE)
    other = format_material(MaterialKind.ED25519_PRIVATE, PRIVATE[::-1])
    values = explained(captured(tmp_path, sealed(key=Key("k1", pair))), keys=f"k1={other},k2={private}")
    assert values["differences"][0]["name"] == "key"
    assert "k2" in values["differences"][0]["what"]


def test_public_key_alone_is_enough(tmp_path: Path) -> None:
    pair = Ed25519.of_private(PRIVATE)
    public = "k1=" + format_material(MaterialKind.ED25519_PUBLIC, pair.public_bytes)
    case = CASES["SG21 header added"]
    values = explained(captured(tmp_path, tampered(case, Key("k1", pair))), keys=public)
    assert values["differences"][0]["name"] == "extra"


def test_value_that_nobody_can_guess_is_said_to_be_so(tmp_path: Path) -> None:
    file = captured(
        tmp_path, with_token(headers(note="something else"), seal(headers(note="nobody knows this"), KEY))
    )
    values = explained(file)
    assert values["differences"] == []
    assert "--original tells" in values["how"]


def test_trials_end_at_their_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.cli.explain.guesses.HMAC_TRIALS_MAX", 50)
    values = explained(captured(tmp_path, tampered(CASES["bit of the body"])))
    assert values["differences"] == []
    assert "more than 5" in values["how"]


@pytest.mark.parametrize("change", [lambda: headers(a=1, b=2, c=3)], ids=["three added"])
def test_several_changes_are_only_found_with_the_original(
    change: Callable[[], Message], tmp_path: Path
) -> None:
    file = captured(tmp_path, with_token(change(), seal(a_message(), KEY)))
    assert explained(file)["differences"] == []
    original = captured(tmp_path, sealed(key=KEY), "original.hex")
    found = explained(file, "--original", original)["differences"]
    assert [difference["name"] for difference in found] == ["a", "b", "c"]


def test_table_helper_matches_what_is_sealed() -> None:
    """The cases rest on this: a changed table of the same values would prove nothing."""
    assert long(table({"a": 1})) != long(table({"a": 2}))
