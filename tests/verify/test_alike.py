"""Messages like the last accepted one get the verdict that all checks would give them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import session_nonce
from sealgate.verify.alike import Known
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.verdict import Accepted, Refused, Verdict
from sealgate.wire.properties import CORRELATION_ID, EXPIRATION, REPLY_TO, TIMESTAMP
from sealgate.wire.reader import HeaderReader
from support.sealed import (
    BODY,
    CHALLENGE,
    EMBED,
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    sealed,
    task_headers,
)


class Connection:
    """One client's connection: messages are read and judged one after the other, as a session does."""

    def __init__(self, policy: Policy | None = None, keys: tuple[Key, ...] = ()) -> None:
        self.verifier = Verifier(policy or a_policy(), Keyring(keys or (a_key(),)))
        self.peer = a_peer()
        self._reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)

    def read(self, message: Message) -> Message:
        header = self._reader.read(message.header.payload)
        return Message(
            message.exchange, message.routing_key, False, header, message.body, message.body_sha256
        )

    def judge(self, message: Message, now: float = NOW) -> Verdict:
        """The verdict here, which must be that on a connection that has seen nothing before."""
        stranger = Peer(
            self.peer.deployment,
            self.peer.vhost,
            self.peer.user,
            self.peer.address,
            self.peer.challenge,
            self.peer.last_sequence,
        )
        expected = self.verifier.examine(message, stranger, now)
        verdict = self.verifier.examine(self.read(message), self.peer, now)
        assert verdict == expected
        assert self.peer.last_sequence == stranger.last_sequence
        return verdict

    @property
    def knows(self) -> bool:
        """Whether the next message may go the short way."""
        return isinstance(self.peer.known, Known) and self.peer.known.usable

    def warm(self, **headers: Any) -> None:
        """Accept what makes the next message one of those that are known."""
        for number in range(4):
            made = task(number, **headers)
            assert isinstance(self.judge(made), Accepted)


def task(number: int, body: bytes = BODY, created: int = NOW, kid: str = "k1", **changes: Any) -> Message:
    name = f"{number:036d}"
    headers = task_headers(**{"id": name, "root_id": name, **changes})
    properties = {**JSON_HEADER, CORRELATION_ID: name.encode(), REPLY_TO: b"answers"}
    nonce = session_nonce(CHALLENGE, number + 1) if number >= 0 else random.randbytes(16)
    made = a_message(body, headers=headers, properties=properties)
    return sealed(made, nonce=nonce, created=created, key=a_key(kid))


def test_a_producer_is_known_from_its_third_message() -> None:
    connection = Connection()
    connection.warm()
    assert connection.knows
    for number in range(10, 30):
        assert connection.judge(task(number)) == Accepted("k1", "app.add")


def test_tasks_that_take_turns_are_known_as_well() -> None:
    connection = Connection(keys=(a_key(tasks=("app.*",)),))
    for number in range(6):
        connection.judge(task(number, task=f"app.t{number % 3}"))
    assert connection.knows
    assert connection.judge(task(10, task="app.other")) == Accepted("k1", "app.other")
    assert isinstance(connection.judge(task(11, task="other.add")), Refused)
    assert isinstance(connection.judge(task(12, task="celery.chain")), Accepted | Refused)
    assert isinstance(connection.judge(task(13, task="app.\x07")), Refused)


CHANGES: dict[str, dict[str, Any]] = {
    "another type of id": {"id": 5},
    "an id that is none": {"id": "../etc"},
    "a root that is none": {"root_id": "a b"},
    "an eta": {"eta": "2026-01-01T00:00:00"},
    "expired": {"expires": "2001-01-01T00:00:00"},
    "retries": {"retries": -1},
    "routing": {"CC": ["elsewhere"]},
    "a callback in the headers": {"callbacks": [{"task": "other"}]},
    "a delay": {"x-delay": 5},
    "a count of the broker's": {"x-delivery-count": 1},
    "one header fewer": {"origin": ...},
    "one header more": {"tenant": "blue"},
    "stamps": {"stamps": {"queue": "x"}},
}
BODIES = {
    "no JSON": b"\x80\x04K\x01.",
    "a key twice": b'[[], {"a": 1, "a": 2}, {}]',
    "a key twice, hidden": b'[[":"], {"a" : 1, "\\u0061":2}, {}]',
    "a gadget": b'[[{"py/object": "os.system"}], {}, {}]',
    "a callback": json.dumps([[], {}, {**EMBED, "callbacks": [{"task": "app.other"}]}]).encode(),
    "a pickle in base64": json.dumps([["gASVBAAAAAAAAABLAS4="], {}, EMBED]).encode(),
    "no parts": b"{}",
    "a number out of range": b"[[1e999], {}, {}]",
    "an unknown name in the embed": b'[[], {}, {"queue": "x"}]',
    "nothing": b"",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_differs_elsewhere_is_judged_by_all_checks(change: dict[str, Any]) -> None:
    connection = Connection()
    connection.warm()
    connection.judge(task(10, **change))
    connection.judge(task(11, **change))
    assert isinstance(connection.judge(task(12)), Accepted)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_every_body_is_judged(body: bytes) -> None:
    connection = Connection()
    connection.warm()
    connection.judge(task(10, body))
    assert isinstance(connection.judge(task(11)), Accepted)


def test_a_seal_is_judged_anew_each_time() -> None:
    connection = Connection(keys=(a_key(), a_key("k2", tasks=("other.*",))))
    connection.warm()
    good = task(10)
    assert isinstance(connection.judge(good), Accepted)
    assert isinstance(connection.judge(good), Refused)  # its sequence was used
    assert isinstance(connection.judge(task(9)), Refused)
    assert isinstance(connection.judge(task(11, kid="k2")), Refused)
    assert isinstance(connection.judge(task(12, created=NOW - 4000)), Refused)
    assert isinstance(connection.judge(task(13, created=NOW + 4000)), Refused)
    assert isinstance(connection.judge(task(14), NOW + 4000.0), Refused)
    other = task(15)
    tampered = Message("", "celery", False, other.header, BODY.replace(b"2", b"3"), bytes(32))
    assert isinstance(connection.judge(tampered), Refused)
    elsewhere = Message("", "other", False, other.header, other.body, other.body_sha256)
    assert isinstance(connection.judge(elsewhere), Refused)
    assert isinstance(connection.judge(task(-1)), Accepted)  # a stored nonce: a claim


def test_keys_and_policy_that_are_replaced_judge_the_next_message() -> None:
    connection = Connection()
    connection.warm()
    connection.verifier.keyring = Keyring((a_key(state=KeyState.REVOKED),))
    assert isinstance(connection.judge(task(10)), Refused)
    connection.verifier.keyring = Keyring((a_key(tasks=("other.*",)),))
    assert isinstance(connection.judge(task(11)), Refused)
    connection.verifier.keyring = Keyring((a_key(),))
    assert isinstance(connection.judge(task(12)), Accepted)
    connection.verifier.policy = a_policy(body_bytes_max=10)
    assert isinstance(connection.judge(task(13)), Refused)
    connection.verifier.policy = a_policy(rates=RateTable({"app.add": "1/s"}))
    verdict = connection.judge(task(14))
    assert isinstance(verdict, Accepted) and verdict.claim is not None and verdict.claim.debits


def test_rules_that_name_tasks_are_asked_each_time() -> None:
    connection = Connection(a_policy(rules=(Rule(task="app.t1", observe=True),)))
    for number in range(8):
        connection.judge(task(number, task=f"app.t{number % 2}"))
    assert not connection.knows
    verdict = connection.judge(task(3, task="app.t1"))
    assert isinstance(verdict, Accepted) and verdict.observed is not None


@pytest.mark.parametrize("index", [EXPIRATION, TIMESTAMP])
def test_other_properties_are_judged(index: int) -> None:
    connection = Connection()
    connection.warm()
    value = b"1000" if index == EXPIRATION else bytes(8)
    for number in range(10, 14):
        name = f"{number:036d}"
        made = a_message(
            headers=task_headers(id=name, root_id=name), properties={**JSON_HEADER, index: value}
        )
        connection.judge(sealed(made, nonce=session_nonce(CHALLENGE, number + 1)))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_came_before(seed: int) -> None:
    chance = random.Random(seed)
    connection = Connection(keys=(a_key(), a_key("k2")))
    for number in range(60):
        change = chance.choice([*CHANGES.values(), {"task": "app.sub"}]) if chance.random() < 0.15 else {}
        body = chance.choice(list(BODIES.values())) if chance.random() < 0.1 else BODY
        kid = "k2" if chance.random() < 0.05 else "k1"
        created = NOW - chance.choice((0, 0, 0, 1, 2, 4000))
        connection.judge(task(number, body, created, kid, **change))
