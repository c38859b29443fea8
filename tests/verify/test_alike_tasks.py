"""What is remembered of messages whose task differs: its name is asked for again, and what hangs on it."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgpack
import pytest

from sealgate.reason import Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.known import Known, Memory
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.verdict import Refused
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import CONTENT_TYPE, TYPE, splice
from sealgate.wire.reader import HeaderReader
from support.hostile_rows import signature
from support.sealed import (
    BODY,
    EMBED,
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    rules,
    seal,
    task_headers,
)

JSON = "application/json"


class Remembering:
    """One connection; `usable` once messages are judged by what is remembered."""

    def __init__(self, key: Key, policy: Policy | None = None) -> None:
        self.key = key
        self.verifier = Verifier(policy or a_policy(), Keyring((key,)))
        self.peer = a_peer()
        self.reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
        self.count = 0
        self.properties: dict[int, bytes] = dict(JSON_HEADER)
        #: Of the message judged last: what it was taken for, and whether something remembered held for it.
        self.task = ""
        self.remembered = False

    def judge(self, task: str, body: bytes = BODY, **headers: object) -> Reason:
        """The reason for a message of `task` under a good seal of its own."""
        self.count += 1
        message = a_message(body, task_headers(task=task, **headers), self.properties)
        token = seal(message, self.key, nonce=self.count.to_bytes(16, "big"))
        payload = splice(message.header, frozenset({TOKEN_NAME}), entry_longstr(TOKEN_NAME, token))
        header = self.reader.read(payload)
        read = Message("", "celery", False, header, body, message.body_sha256)
        self.remembered = any(
            known.holds_for(read, self.verifier.keyring, self.verifier.policy) for known in self.usable
        )
        verdict = self.verifier.examine(read, self.peer, float(NOW))
        self.task = verdict.task
        return verdict.reason if isinstance(verdict, Refused) else Reason.OK

    @property
    def usable(self) -> list[Known]:
        memory = self.peer.known
        return [known for known in memory.all() if known.usable] if isinstance(memory, Memory) else []

    def learn(self, *tasks: str, **headers: object) -> None:
        """Accept these by turns until what they have in common is remembered."""
        for task in tasks * 3:
            assert self.judge(task, **headers) is Reason.OK


def test_name_of_the_task_is_asked_of_the_key_again() -> None:
    connection = Remembering(a_key(tasks=("app.*",)))
    connection.learn("app.add", "app.mul")
    assert connection.judge("app.sub") is Reason.OK
    assert connection.remembered
    assert connection.judge("spy.add") is Reason.ACL_TASK
    assert connection.remembered


def test_task_that_takes_signatures_has_them_looked_at() -> None:
    connection = Remembering(a_key(tasks=("app.*", "celery.map")))
    connection.learn("app.add", "app.mul")
    evil = json.dumps([[], {"task": signature("spy.add"), "it": [1]}, EMBED]).encode()
    assert connection.judge("celery.map", evil) is Reason.ACL_TASK
    assert connection.remembered


@pytest.mark.parametrize("name", ["callbacks", "chain", "headers"])
def test_what_a_header_has_a_worker_publish_is_never_remembered(name: str) -> None:
    """The same in all messages, it was looked at once: but by whose task list, if the key's changes?"""
    value: Any = {"trace": "x"} if name == "headers" else [signature("app.add")]
    connection = Remembering(a_key(tasks=("app.*",)))
    for number in range(6):
        assert connection.judge("app.add", **{name: value}, argsrepr="x" * number) is Reason.OK
    assert connection.usable == []


def test_rules_that_name_tasks_are_asked_for_each_name() -> None:
    compressed = rules("celery", "application/json", compression=("application/x-gzip",))
    strict = Rule(task="spy.*", content=rules("celery", "application/x-msgpack"))
    connection = Remembering(a_key(), a_policy(content=compressed, rules=(strict,)))
    connection.learn("app.add", "app.mul")
    assert connection.judge("spy.add") is Reason.CONTENT_TYPE


def test_size_is_looked_at_again() -> None:
    connection = Remembering(a_key(), a_policy(body_bytes_max=100))
    connection.learn("app.add", "app.mul")
    large = json.dumps([["x" * 100], {}, EMBED]).encode()
    assert connection.judge("app.add", large) is Reason.BODY_SIZE
    assert connection.remembered


def test_compression_that_differs_is_looked_at_again() -> None:
    content = rules("celery", JSON, compression=("application/x-gzip",))
    connection = Remembering(a_key(), a_policy(content=content))
    for _ in range(4):
        assert connection.judge("app.add", compression="") is Reason.OK
        assert connection.judge("app.add", zlib.compress(BODY), compression="gzip") is Reason.OK
    assert connection.judge("app.add", compression="lzma") is Reason.CONTENT_COMPRESSION


def test_json_under_another_type_is_not_taken_for_its_body() -> None:
    connection = Remembering(a_key(), a_policy(content=rules("celery", "application/x-msgpack")))
    connection.properties = {CONTENT_TYPE: b"application/x-msgpack", 1: b"binary"}
    packed = msgpack.packb([[2, 3], {}, EMBED])
    for task in ("app.add", "app.mul") * 3:
        assert connection.judge(task, packed) is Reason.OK
    assert connection.judge("app.add") is Reason.CONTENT_MSGPACK


def test_name_that_nobody_reads_is_not_the_header() -> None:
    """Under the generic profile a task is what the property `type` says."""
    connection = Remembering(a_key(tasks=("app.*", "orders")), a_policy(content=rules("generic", JSON)))
    connection.properties = {CONTENT_TYPE: JSON.encode(), TYPE: b"orders"}
    for task in ("app.add", "app.mul") * 3:
        assert connection.judge(task, b'{"any": "thing"}') is Reason.OK
        assert connection.task == "orders"
    assert connection.judge("app.add") is Reason.OK
    assert connection.task == "orders"
