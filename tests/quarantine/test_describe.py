from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable

import pamqp.commands
import pamqp.header
import pytest

from sealgate.quarantine.describe import body_preview, printable, publication, summary, whole
from sealgate.quarantine.record import Kept
from sealgate.session.records import RefusalRecord
from support.refusals import SEAL, refusal

ID = "6f1c2f9e-3b7a-4c62-9a59-0a7f5b6a1c11"


def header_with(table: bytes) -> bytes:
    """A content header whose only property is a header table of these entries."""
    return struct.pack(">HHQH", 60, 0, 0, 0x2000) + struct.pack(">I", len(table)) + table


def described(record: RefusalRecord) -> dict[str, object]:
    return dict(publication(Kept(ID, record)))


def test_a_publication_shows_its_target_properties_and_headers() -> None:
    assert described(refusal()) == {
        "exchange": "shop",
        "routing_key": "orders",
        "mandatory": True,
        "properties": {"content_type": "application/json", "delivery_mode": 2, "message_id": "m-1"},
        "headers": {
            "task": "shop.tasks.pay",
            "x-seal": SEAL.rpartition(".")[0] + ".(signature not shown)",
            "retries": 3,
        },
    }


@pytest.mark.parametrize("describe", [summary, publication, whole])
def test_no_signature_is_shown(describe: Callable[[Kept], object]) -> None:
    assert SEAL.rpartition(".")[2] not in json.dumps(describe(Kept(ID, refusal())))


@pytest.mark.parametrize("value", [b"S\x00\x00\x00\x06nodots", b"I\x00\x00\x00\x01"])
def test_a_seal_without_its_form_is_not_shown_at_all(value: bytes) -> None:
    shown = described(refusal(header=header_with(b"\x06x-seal" + value)))
    assert shown["headers"] == {"x-seal": "(signature not shown)"}


def test_every_property_has_its_own_name() -> None:
    properties = pamqp.commands.Basic.Properties(
        content_type="a",
        content_encoding="b",
        delivery_mode=1,
        priority=9,
        correlation_id="c",
        reply_to="d",
        expiration="5",
        message_id="e",
        message_type="f",
        user_id="g",
        app_id="h",
    )
    shown = described(refusal(header=pamqp.header.ContentHeader(0, 1, properties).marshal()))
    assert shown["properties"] == {
        "content_type": "a",
        "content_encoding": "b",
        "delivery_mode": 1,
        "priority": 9,
        "correlation_id": "c",
        "reply_to": "d",
        "expiration": "5",
        "message_id": "e",
        "type": "f",
        "user_id": "g",
        "app_id": "h",
    }


def test_values_that_json_does_not_know_are_told_apart() -> None:
    table = b"\x01bx\x00\x00\x00\x02\x00\xff" + b"\x01dD\x02\x00\x00\x00\x7b"
    table += b"\x01tT" + struct.pack(">Q", 1_700_000_000) + b"\x01lA\x00\x00\x00\x03x\x00\x00"[:0]
    table += b"\x01nF\x00\x00\x00\x0b" + b"\x01xT" + struct.pack(">Q", 5)
    assert described(refusal(header=header_with(table)))["headers"] == {
        "b": {"bytes_base64": "AP8="},
        "d": {"decimal": "123e-2"},
        "t": {"timestamp": 1_700_000_000},
        "n": {"x": {"timestamp": 5}},
    }


def test_what_can_not_be_read_is_said_and_the_rest_shown() -> None:
    shown = described(refusal(header=b"\x00"))
    assert shown["exchange"] == "shop"
    assert shown["problems"] == ["content header: frame.truncated content header"]
    shown = described(refusal(method=b"\x00\x3c\x00\x28\x00\x00\x01\xff\x00\x00"))
    assert "exchange" not in shown
    assert shown["headers"]
    assert str(shown["problems"]).startswith("['method: props.utf8")


def test_the_whole_has_every_byte_of_the_body() -> None:
    body = bytes(range(256))
    shown = whole(Kept(ID, refusal(body)))["publication"]
    assert isinstance(shown, dict)
    assert base64.b64decode(str(shown["body_base64"])) == body


def test_a_summary_names_the_time_in_utc() -> None:
    assert summary(Kept(ID, refusal()))["at"] == "2023-11-14T22:13:20.250+00:00"


def test_a_body_preview_is_short_and_harmless() -> None:
    assert body_preview(b"\x1b[2J\xff\x00ok\n", 100) == r"\x1b[2J\xff\x00ok\n"
    assert body_preview(b"abcdef", 3) == "abc..."


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "a\rb", "\u202egnp.exe", "\x9b31m"])
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    assert printable(text).isprintable()


def test_ordinary_text_is_printed_as_it_is() -> None:
    assert printable("süß 任务") == "süß 任务"
